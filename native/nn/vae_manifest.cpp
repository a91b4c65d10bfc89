// Both halves of the KL autoencoder and of TAESD.
#include <algorithm>
#include <vector>

#include "core/error.h"
#include "nn/manifest_survey.h"

namespace zoodip {
namespace {

const std::string root = "first_stage_model.";

// ----------------------------------------------------------------------------------- autoencoder

// One half. Levels count from the finest; the decoder runs them backwards, with one residual block
// more in each.
struct KlHalf {
    std::string name;    // "encoder."
    std::string levels;  // "encoder.down."
    std::int64_t blocks = 0;
    std::vector<std::int64_t> channels;  // of each level
};

std::int64_t count_blocks(const Survey& names, const std::string& levels, std::int64_t count) {
    std::int64_t blocks = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        blocks = std::max(blocks, names.count(concat(levels, i, ".block.")));
    }
    return blocks;
}

KlHalf survey_half(const Survey& names, bool decoder) {
    KlHalf half{
        decoder ? "decoder." : "encoder.", decoder ? "decoder.up." : "encoder.down.", 0, {}};
    const std::int64_t levels =
        std::max<std::int64_t>({1, names.count("encoder.down."), names.count("decoder.up.")});
    half.blocks =
        std::max<std::int64_t>({1, count_blocks(names, "encoder.down.", levels) + (decoder ? 1 : 0),
                                count_blocks(names, "decoder.up.", levels) - (decoder ? 0 : 1)});
    for (std::int64_t i = 0; i < levels; ++i) {
        Votes channels(names);
        for (std::int64_t j = 0; j < half.blocks; ++j) {
            for (const char* layer : {".conv1", ".norm2", ".conv2"}) {
                channels.add_layer(concat(half.levels, i, ".block.", j, layer));
            }
        }
        half.channels.push_back(channels.winner());
    }
    return half;
}

void add_res_block(ManifestBuilder& list, const std::string& at, std::int64_t in,
                   std::int64_t out) {
    list.norm(at + "norm1", in);
    list.conv3(at + "conv1", out, in);
    list.norm(at + "norm2", out);
    list.conv3(at + "conv2", out, out);
    if (differ(in, out)) list.linear(at + "nin_shortcut", out, in);
}

void add_middle(ManifestBuilder& list, const std::string& at, std::int64_t width) {
    add_res_block(list, at + "block_1.", width, width);
    list.norm(at + "attn_1.norm", width);
    for (const char* layer : {"q", "k", "v", "proj_out"}) {
        list.linear(at + "attn_1." + layer, width, width);
    }
    add_res_block(list, at + "block_2.", width, width);
}

// Returns the channels after the level.
std::int64_t add_level(const KlHalf& half, std::size_t level, std::int64_t in,
                       ManifestBuilder& list) {
    const std::int64_t out = half.channels[level];
    for (std::int64_t j = 0; j < half.blocks; ++j) {
        add_res_block(list, concat(half.levels, level, ".block.", j, "."), j == 0 ? in : out, out);
    }
    return out;
}

// The convolutions between moments and latents: a model has both or, by design, neither.
bool has_quant_convs(const Survey& names, const Architecture& architecture) {
    if (architecture.vae_quant_conv) return *architecture.vae_quant_conv;
    return names.any("quant_conv.") || names.any("post_quant_conv.");
}

Manifest kl_encoder(const Survey& names, const Architecture& architecture) {
    const KlHalf half = survey_half(names, false);
    ManifestBuilder list(root);
    Votes first(names);
    for (const char* layer : {"encoder.conv_in", "encoder.down.0.block.0.norm1"}) {
        first.add_layer(layer);
    }
    std::int64_t channels = first.winner();
    list.conv3("encoder.conv_in", channels, 3);
    for (std::size_t i = 0; i < half.channels.size(); ++i) {
        channels = add_level(half, i, channels, list);
        if (i + 1 == half.channels.size()) break;
        list.conv3(concat(half.levels, i, ".downsample.conv"), channels, channels);
    }
    add_middle(list, "encoder.mid.", channels);
    list.norm("encoder.norm_out", channels);
    list.conv3("encoder.conv_out", 8, channels);  // mean and logarithm of the variance of 4
    if (has_quant_convs(names, architecture)) list.linear("quant_conv", 8, 8);
    return list.take();
}

Manifest kl_decoder(const Survey& names, const Architecture& architecture) {
    const KlHalf half = survey_half(names, true);
    ManifestBuilder list(root);
    if (has_quant_convs(names, architecture)) list.linear("post_quant_conv", 4, 4);
    std::int64_t channels = half.channels.back();
    list.conv3("decoder.conv_in", channels, 4);
    add_middle(list, "decoder.mid.", channels);
    for (std::size_t i = half.channels.size(); i-- > 0;) {
        channels = add_level(half, i, channels, list);
        if (i == 0) break;
        list.conv3(concat(half.levels, i, ".upsample.conv"), channels, channels);
    }
    list.norm("decoder.norm_out", channels);
    list.conv3("decoder.conv_out", 3, channels);
    return list.take();
}

// ----------------------------------------------------------------------------------------- TAESD

// A sequence: convolution; then blocks, and convolutions without a bias where the size changes;
// convolution. In the decoder's numbering the layers without weights count as well.
class TaesdList {
  public:
    TaesdList(const Survey& names, const std::string& prefix, bool decoder)
        : names_(names),
          prefix_(prefix),
          decoder_(decoder),
          list_(root),
          count_(names.count(prefix)) {}

    Manifest make() {
        const std::int64_t first = decoder_ ? 1 : 0;
        width_ = outputs(first);
        list_.conv3(at(first), width_, decoder_ ? 4 : 3);
        // The last is a convolution as well: where a block is the highest, it is missing.
        const bool ends = count_ - 1 > first && is_convolution(count_ - 1);
        last_ = ends ? count_ - 1 : count_;
        // Behind the decoder's first convolution a ReLU takes a number.
        add_layers(decoder_ ? 3 : 1);
        list_.conv3(at(last_), decoder_ ? 3 : 4, width_);
        return list_.take();
    }

  private:
    static constexpr std::int64_t resamplings = 3;  // 2^3 pixels for a latent

    void add_layers(std::int64_t begin) {
        std::int64_t found = 0, missing = resamplings;
        for (std::int64_t i = begin; i < last_; ++i) missing -= is_convolution(i) ? 1 : 0;
        for (std::int64_t i = begin; i < last_; ++i) {
            if (decoder_ && is_upsampling(i)) continue;
            const bool lost = !decoder_ && !is_there(i) && missing-- > 0;
            if (is_convolution(i) || lost || (decoder_ && is_upsampling(i - 1))) {
                add_resampling(i);
                ++found;
            } else {
                add_block(i);
            }
        }
        require(found == resamplings, names_.weights().description(), ": its TAESD ",
                decoder_ ? "doubles" : "halves", " the size ", found, " times, expected ",
                resamplings, ". The model is damaged or was cut: get it anew");
    }

    bool is_block(std::int64_t i) const { return names_.any(at(i) + ".conv.") || has_skip(i); }
    bool has_skip(std::int64_t i) const { return names_.any(at(i) + ".skip."); }
    bool is_convolution(std::int64_t i) const {
        return names_.any(at(i) + ".weight") || names_.any(at(i) + ".bias");
    }
    bool is_there(std::int64_t i) const { return is_block(i) || is_convolution(i); }
    // A number left out, with a convolution behind it; that may be missing itself, and then a block
    // follows.
    bool is_upsampling(std::int64_t i) const {
        if (i < 3 || i + 1 >= last_ || is_there(i)) return false;
        return is_convolution(i + 1) || (!is_there(i + 1) && is_block(i + 2));
    }
    std::string at(std::int64_t i) const { return concat(prefix_, i); }

    std::int64_t outputs(std::int64_t i) const {
        Votes votes(names_);
        votes.add_layer(at(i));
        return votes.winner();
    }

    void add_resampling(std::int64_t i) {
        const std::int64_t out = outputs(i);
        list_.conv3(at(i), out, width_, false);
        width_ = out;
    }

    void add_block(std::int64_t i) {
        Votes votes(names_);
        for (const char* layer : {".conv.0", ".conv.2", ".conv.4"}) votes.add_layer(at(i) + layer);
        const std::int64_t out = votes.winner();
        list_.conv3(at(i) + ".conv.0", out, width_);
        for (const char* layer : {".conv.2", ".conv.4"}) list_.conv3(at(i) + layer, out, out);
        if (has_skip(i) || differ(width_, out)) {
            list_.linear(at(i) + ".skip", out, width_, false);
        }
        width_ = out;
    }

    const Survey& names_;
    std::string prefix_;
    bool decoder_;
    ManifestBuilder list_;
    std::int64_t count_;
    std::int64_t last_ = 0;    // of the numbers
    std::int64_t width_ = -1;  // of what comes out of the layers so far
};

}  // namespace

Manifest latent_encoder_manifest(const WeightSource& weights, const Architecture& architecture) {
    const Survey names(weights, root);
    if (architecture.vae == VaeKind::kl) {
        return names.any("encoder.") ? kl_encoder(names, architecture) : Manifest{};
    }
    const bool there = names.any("taesd_encoder.");
    return there ? TaesdList(names, "taesd_encoder.", false).make() : Manifest{};
}

Manifest latent_decoder_manifest(const WeightSource& weights, const Architecture& architecture) {
    const Survey names(weights, root);
    if (architecture.vae == VaeKind::kl) {
        return names.any("decoder.") ? kl_decoder(names, architecture) : Manifest{};
    }
    const bool there = names.any("taesd_decoder.");
    return there ? TaesdList(names, "taesd_decoder.", true).make() : Manifest{};
}

}  // namespace zoodip
