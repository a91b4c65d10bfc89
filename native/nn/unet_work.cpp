#include "nn/unet_work.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "nn/inventory.h"
#include "nn/unet.h"

namespace zoodip {
namespace {

constexpr std::string_view root = "model.diffusion_model.";
constexpr std::int64_t text_tokens = 77;

// Number N of "input_blocks.N.", or -1.
int number_after(std::string_view name, std::string_view list) {
    if (!name.starts_with(list)) return -1;
    name.remove_prefix(list.size());
    int number = -1;
    std::from_chars(name.data(), name.data() + name.size(), number);
    return number;
}

// How often the picture was halved before a block, by the blocks that halve and double it.
class Levels {
  public:
    explicit Levels(const WeightSource& source) {
        for (const WeightInfo& info : source.list()) {
            const std::string_view name = below_root(info.name);
            const int in = number_after(name, "input_blocks.");
            const int out = number_after(name, "output_blocks.");
            if (in >= 0 && name.ends_with(".0.op.weight")) halving_.push_back(in);
            // A doubling layer is the only convolution named so that lies right in a block.
            if (out >= 0 && name.ends_with(".conv.weight")) doubling_.push_back(out);
        }
    }

    int of(std::string_view name) const {
        const int in = number_after(name, "input_blocks.");
        if (in >= 0) return before(halving_, in);
        const int deepest = static_cast<int>(halving_.size());
        const int out = number_after(name, "output_blocks.");
        if (out >= 0) {
            const bool doubles = name.ends_with(".conv.weight");  // it sees the larger picture
            return deepest - before(doubling_, out) - (doubles ? 1 : 0);
        }
        return name.starts_with("middle_block.") ? deepest : 0;
    }

    static std::string_view below_root(std::string_view name) {
        return name.starts_with(root) ? name.substr(root.size()) : std::string_view();
    }

  private:
    static int before(const std::vector<int>& blocks, int block) {
        return static_cast<int>(
            std::count_if(blocks.begin(), blocks.end(), [block](int b) { return b < block; }));
    }

    std::vector<int> halving_, doubling_;
};

std::int64_t halved(std::int64_t size, int times) {
    for (int i = 0; i < times; ++i) size = (size + 1) / 2;
    return size;
}

bool sees_one_vector(std::string_view name) {
    return name.starts_with("time_embed.") || name.find(".emb_layers.") != std::string_view::npos ||
           name.starts_with("label_emb.");
}

}  // namespace

bool sees_text(std::string_view name) {
    return name.ends_with(".attn2.to_k.weight") || name.ends_with(".attn2.to_v.weight");
}

UNetWork unet_work(const WeightSource& source, std::int64_t height, std::int64_t width) {
    const Levels levels(source);
    std::map<std::tuple<std::vector<std::int64_t>, std::int64_t, std::int64_t, std::int64_t>,
             LayerWork>
        layers;
    std::map<std::pair<std::int64_t, std::int64_t>, AttentionWork> attention;
    for (const WeightInfo& info : source.list()) {
        const std::string_view name = Levels::below_root(info.name);
        if (name.empty() || !is_layer_weight(info) || sees_one_vector(name)) continue;
        const int level = levels.of(name);
        const std::int64_t h = halved(height, level), w = halved(width, level);
        const bool linear = info.shape.size() == 2 || info.shape[2] == 1;
        const std::int64_t stride = name.ends_with(".0.op.weight") ? 2 : 1;
        std::vector<std::int64_t> shape = info.shape;
        if (linear) shape.resize(2);
        const std::int64_t tokens = sees_text(name) ? text_tokens : h * w;
        LayerWork& work = layers[linear ? std::tuple(shape, tokens, std::int64_t{1}, stride)
                                        : std::tuple(shape, h, w, stride)];
        work.weight = shape;
        work.height = linear ? tokens : h;
        work.width = linear ? 1 : w;
        work.stride = stride;
        ++work.layers;
        work.products += static_cast<double>(count_numbers(info)) *
                         static_cast<double>(work.height * work.width / (stride * stride));
        if (name.ends_with(".attn1.to_q.weight")) {
            AttentionWork& one = attention[{tokens, info.shape[0]}];
            one = {tokens, info.shape[0], one.layers + 1};
        }
    }
    UNetWork all;
    for (auto& [key, work] : layers) all.layers.push_back(std::move(work));
    std::stable_sort(
        all.layers.begin(), all.layers.end(),
        [](const LayerWork& a, const LayerWork& b) { return a.products > b.products; });
    for (const auto& [key, work] : attention) all.attention.push_back(work);
    return all;
}

}  // namespace zoodip
