#include "nn/diffusers_names.h"

#include <array>
#include <regex>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace zoodip {
namespace {

// std::regex calls itself for every character: a name of a megabyte would overflow the stack. None
// of a model is nearly as long.
constexpr std::size_t longest = 256;

using Names = std::pair<std::string_view, std::string_view>;

// The first entry whose left side starts `name`, replaced by its right side.
template <std::size_t N>
std::optional<std::string> replace_start(const std::string& name,
                                         const std::array<Names, N>& table) {
    for (const auto& [from, to] : table) {
        if (name.rfind(from, 0) == 0) return std::string(to) + name.substr(from.size());
    }
    return std::nullopt;
}

constexpr std::array<Names, 6> resnet_table = {{{"norm1.", "in_layers.0."},
                                                {"conv1.", "in_layers.2."},
                                                {"time_emb_proj.", "emb_layers.1."},
                                                {"norm2.", "out_layers.0."},
                                                {"conv2.", "out_layers.3."},
                                                {"conv_shortcut.", "skip_connection."}}};

constexpr std::array<Names, 7> unet_table = {{{"conv_in.", "input_blocks.0.0."},
                                              {"time_embedding.linear_1.", "time_embed.0."},
                                              {"time_embedding.linear_2.", "time_embed.2."},
                                              {"add_embedding.linear_1.", "label_emb.0.0."},
                                              {"add_embedding.linear_2.", "label_emb.0.2."},
                                              {"conv_norm_out.", "out.0."},
                                              {"conv_out.", "out.2."}}};

std::optional<std::string> in_block(const std::string& block, const std::string& kind,
                                    const std::string& rest) {
    if (kind == "attentions") return block + rest;
    const auto inner = replace_start(rest, resnet_table);
    return inner ? std::optional(block + *inner) : std::nullopt;
}

// input_blocks: 0 is conv_in; then each level has its resnets and, but for the last, a downsampler.
std::optional<std::string> down_name(const std::smatch& match, const UNetBlocks& blocks) {
    const std::int64_t level = std::stoll(match[1]), index = std::stoll(match[3]);
    const std::int64_t first = 1 + level * (blocks.resnets + 1);
    const std::string kind = match[2], rest = match[4];
    if (kind == "downsamplers") {
        const auto inner = rest.rfind("conv.", 0) == 0 ? rest.substr(5) : rest;
        return concat("input_blocks.", first + blocks.resnets, ".0.op.", inner);
    }
    return in_block(concat("input_blocks.", first + index, kind == "resnets" ? ".0." : ".1."), kind,
                    rest);
}

std::optional<std::string> middle_name(const std::smatch& match) {
    const std::string kind = match[1], rest = match[3];
    const std::int64_t index = kind == "attentions" ? 1 : 2 * std::stoll(match[2]);
    return in_block(concat("middle_block.", index, "."), kind, rest);
}

// output_blocks: each level has one resnet more than on the way down; the upsampler stands in the
// level's last block, behind the attention if there is one.
std::optional<std::string> up_name(const std::smatch& match, const UNetBlocks& blocks) {
    const std::int64_t level = std::stoll(match[1]), index = std::stoll(match[3]);
    const std::int64_t first = level * (blocks.resnets + 1);
    const std::string kind = match[2], rest = match[4];
    if (kind == "upsamplers") {
        const char* place = blocks.attended.count(level) > 0 ? ".2." : ".1.";
        return concat("output_blocks.", first + blocks.resnets, place, rest);
    }
    return in_block(concat("output_blocks.", first + index, kind == "resnets" ? ".0." : ".1."),
                    kind, rest);
}

// ----------------------------------------------------------------------------------------- VAE

constexpr std::array<Names, 12> vae_table = {{{"conv_shortcut.", "nin_shortcut."},
                                              {"group_norm.", "norm."},
                                              {"to_q.", "q."},
                                              {"to_k.", "k."},
                                              {"to_v.", "v."},
                                              {"to_out.0.", "proj_out."},
                                              {"query.", "q."},
                                              {"key.", "k."},
                                              {"value.", "v."},
                                              {"proj_attn.", "proj_out."},
                                              {"conv_norm_out.", "norm_out."},
                                              {"", ""}}};

std::string vae_inner(const std::string& name) {
    return *replace_start(name, vae_table);
}

}  // namespace

std::optional<std::string> original_unet_name(const std::string& name, const UNetBlocks& blocks) {
    if (name.size() > longest) return std::nullopt;
    static const std::regex down(R"(down_blocks\.(\d{1,2})\.(\w+)\.(\d{1,2})\.(.+))");
    static const std::regex middle(R"(mid_block\.(\w+)\.(\d{1,2})\.(.+))");
    static const std::regex up(R"(up_blocks\.(\d{1,2})\.(\w+)\.(\d{1,2})\.(.+))");
    std::smatch match;
    std::optional<std::string> found = replace_start(name, unet_table);
    if (!found && std::regex_match(name, match, down)) found = down_name(match, blocks);
    if (!found && std::regex_match(name, match, middle)) found = middle_name(match);
    if (!found && std::regex_match(name, match, up)) found = up_name(match, blocks);
    return found ? std::optional("model.diffusion_model." + *found) : std::nullopt;
}

std::optional<std::string> original_text_encoder_name(const std::string& name,
                                                      const std::string& root) {
    if (name.starts_with("text_projection.")) return root + name;
    const std::string inner = name.rfind("text_model.", 0) == 0 ? name.substr(11) : name;
    return root + "text_model." + inner;
}

std::optional<std::string> original_vae_name(const std::string& name, std::int64_t levels) {
    static const std::regex block(
        R"((encoder|decoder)\.(?:down|up)_blocks\.(\d{1,2})\.(\w+)\.(\d{1,2})\.(.+))");
    static const std::regex middle(R"((encoder|decoder)\.mid_block\.(\w+)\.(\d{1,2})\.(.+))");
    static const std::regex plain(R"((encoder|decoder)\.(.+))");
    const std::string root = "first_stage_model.";
    if (name.size() > longest) return root + name;
    std::smatch match;
    if (std::regex_match(name, match, block)) {
        const bool encoder = match[1] == "encoder";
        const std::int64_t level = std::stoll(match[2]);
        const std::string at = concat(root, match[1].str(), encoder ? ".down." : ".up.",
                                      encoder ? level : levels - 1 - level, ".");
        if (match[3] != "resnets") {
            return concat(at, encoder ? "downsample." : "upsample.", match[5].str());
        }
        return concat(at, "block.", match[4].str(), ".", vae_inner(match[5]));
    }
    if (std::regex_match(name, match, middle)) {
        const bool attention = match[2] == "attentions";
        return concat(root, match[1].str(), attention ? ".mid.attn_" : ".mid.block_",
                      std::stoll(match[3]) + 1, ".", vae_inner(match[4]));
    }
    if (std::regex_match(name, match, plain)) {
        return concat(root, match[1].str(), ".", vae_inner(match[2]));
    }
    return root + name;  // quant_conv, post_quant_conv
}

std::optional<std::string> original_taesd_name(const std::string& name) {
    static const std::regex layer(R"((encoder|decoder)\.layers\.(\d{1,3})\.(.+))");
    std::smatch match;
    if (name.size() > longest || !std::regex_match(name, match, layer)) return std::nullopt;
    // The original decoder's layer 0 clamps; diffusers does that outside its list.
    const bool encoder = match[1] == "encoder";
    return concat("first_stage_model.taesd_", match[1].str(), ".",
                  std::stoll(match[2]) + (encoder ? 0 : 1), ".", match[3].str());
}

}  // namespace zoodip
