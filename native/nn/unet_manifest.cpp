// The UNet of latent diffusion: levels of residual blocks, transformers where a level has them, and
// the way back with one residual block more a level.
#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "nn/manifest_survey.h"

namespace zoodip {
namespace {

std::string input_block(std::int64_t i) {
    return concat("input_blocks.", i, ".");
}

std::string output_block(std::int64_t i) {
    return concat("output_blocks.", i, ".");
}

bool has_res_block(const Survey& names, const std::string& at) {
    return names.any(at + "in_layers.") || names.any(at + "out_layers.") ||
           names.any(at + "emb_layers.") || names.any(at + "skip_connection.");
}

bool has_transformer(const Survey& names, const std::string& at) {
    return names.any(at + "transformer_blocks.") || names.any(at + "proj_in.") ||
           names.any(at + "proj_out.") || names.any(at + "norm.");
}

// Whether levels of so many input blocks (residual blocks and a downsampler, or the first
// convolution) agree with everything that is there.
bool makes_levels(const Survey& names, std::int64_t blocks, std::int64_t period) {
    for (std::int64_t i = 1; i < blocks; ++i) {
        const std::string at = input_block(i) + "0.";
        const bool down = i % period == 0;
        if (names.any(at + "op.") ? !down : down && has_res_block(names, at)) return false;
    }
    for (std::int64_t i = 0; i < blocks; ++i) {
        const bool last = i % period == period - 1 && i + 1 < blocks;
        const bool up =
            names.any(output_block(i) + "1.conv.") || names.any(output_block(i) + "2.conv.");
        if (up && !last) return false;
    }
    return true;
}

struct Level {
    std::int64_t channels = -1;
    bool attended = false;
};

// What is counted and measured once.
struct Structure {
    std::int64_t blocks = 0, period = 0;
    std::int64_t channels = -1;  // of the first convolution
    std::int64_t time = -1;      // of the time embedding
    std::int64_t context = -1;   // of the text
    std::vector<Level> levels;   // from the finest

    std::int64_t level_of_input(std::int64_t i) const {
        return i % period == 0 ? i / period - 1 : i / period;
    }
    std::int64_t level_of_output(std::int64_t i) const { return blocks / period - 1 - i / period; }
};

void vote_on_block(const Survey& names, const std::string& at, Level& level, Votes& channels,
                   Votes& time, Votes& context) {
    for (const char* layer : {"0.in_layers.2", "0.out_layers.0", "0.out_layers.3", "0.emb_layers.1",
                              "1.norm", "1.proj_out"}) {
        channels.add_layer(at + layer);
    }
    time.add(at + "0.emb_layers.1.weight", 1);
    context.add(at + "1.transformer_blocks.0.attn2.to_k.weight", 1);
    context.add(at + "1.transformer_blocks.0.attn2.to_v.weight", 1);
    // Behind the transformer the upsampler comes third.
    level.attended |= has_transformer(names, at + "1.") || names.any(at + "2.conv.");
}

void measure_levels(const Survey& names, Structure& unet) {
    const std::int64_t count = unet.blocks / unet.period;
    std::vector<Votes> channels(static_cast<std::size_t>(count), Votes(names));
    Votes time(names), context(names);
    unet.levels.resize(static_cast<std::size_t>(count));
    const auto vote = [&](std::int64_t at_level, const std::string& at) {
        const auto level = static_cast<std::size_t>(at_level);
        vote_on_block(names, at, unet.levels[level], channels[level], time, context);
    };
    for (std::int64_t i = 1; i < unet.blocks; ++i) {
        if (i % unet.period != 0) vote(unet.level_of_input(i), input_block(i));
    }
    for (std::int64_t i = 0; i < unet.blocks; ++i) vote(unet.level_of_output(i), output_block(i));
    for (const char* layer : {"time_embed.0", "time_embed.2"}) time.add_layer(layer);
    for (std::size_t i = 0; i < channels.size(); ++i)
        unet.levels[i].channels = channels[i].winner();
    unet.time = time.winner();
    unet.context = context.winner();
}

Structure survey_unet(const Survey& names) {
    Structure unet;
    const std::int64_t in = names.count("input_blocks."), out = names.count("output_blocks.");
    unet.blocks = std::max(in, out);
    for (std::int64_t period = 2; period <= unet.blocks && unet.period == 0; ++period) {
        const bool divides = unet.blocks % period == 0;
        if (divides && makes_levels(names, unet.blocks, period)) unet.period = period;
    }
    require(
        unet.period != 0, names.weights().description(), ": its UNet has ", in,
        " input blocks and ", out,
        " output blocks, which make up no levels. The model is damaged or was cut: get it anew");
    Votes first(names);
    for (const char* layer : {"input_blocks.0.0", "out.0"}) first.add_layer(layer);
    first.add("time_embed.0.weight", 1);
    first.add("out.2.weight", 1);
    unet.channels = first.winner();
    measure_levels(names, unet);
    return unet;
}

void add_res_block(ManifestBuilder& list, const std::string& at, std::int64_t in, std::int64_t out,
                   std::int64_t time) {
    list.norm(at + "in_layers.0", in);
    list.conv3(at + "in_layers.2", out, in);
    list.linear(at + "emb_layers.1", out, time);
    list.norm(at + "out_layers.0", out);
    list.conv3(at + "out_layers.3", out, out);
    if (differ(in, out)) list.linear(at + "skip_connection", out, in);
}

void add_attention(ManifestBuilder& list, const std::string& at, std::int64_t width,
                   std::int64_t context) {
    list.linear(at + "to_q", width, width, false);
    list.linear(at + "to_k", width, context, false);
    list.linear(at + "to_v", width, context, false);
    list.linear(at + "to_out.0", width, width);
}

void add_transformer(const Survey& names, ManifestBuilder& list, const std::string& at,
                     std::int64_t width, std::int64_t context) {
    list.norm(at + "norm", width);
    list.linear(at + "proj_in", width, width);
    const std::int64_t depth = std::max<std::int64_t>(1, names.count(at + "transformer_blocks."));
    for (std::int64_t i = 0; i < depth; ++i) {
        const std::string block = concat(at, "transformer_blocks.", i, ".");
        add_attention(list, block + "attn1.", width, width);
        add_attention(list, block + "attn2.", width, context);
        // Twice the width of what it gates: GEGLU.
        list.linear(block + "ff.net.0.proj", 8 * width, width);
        list.linear(block + "ff.net.2", width, 4 * width);
        for (const char* norm : {"norm1", "norm2", "norm3"}) list.norm(block + norm, width);
    }
    list.linear(at + "proj_out", width, width);
}

// Channels side by side; unknown with either.
std::int64_t join(std::int64_t a, std::int64_t b) {
    return a < 0 || b < 0 ? -1 : a + b;
}

// Adds the way down; returns the channels that each block leaves behind for the way back.
std::vector<std::int64_t> add_input_blocks(const Survey& names, const Structure& unet,
                                           ManifestBuilder& list) {
    list.conv3("input_blocks.0.0", unet.channels, -1);
    std::vector<std::int64_t> skips{unet.channels};
    for (std::int64_t i = 1; i < unet.blocks; ++i) {
        const Level& level = unet.levels[static_cast<std::size_t>(unet.level_of_input(i))];
        const std::string at = input_block(i);
        if (i % unet.period == 0) {
            list.conv3(at + "0.op", level.channels, level.channels);
        } else {
            add_res_block(list, at + "0.", skips.back(), level.channels, unet.time);
            if (level.attended) {
                add_transformer(names, list, at + "1.", level.channels, unet.context);
            }
        }
        skips.push_back(level.channels);
    }
    return skips;
}

void add_output_blocks(const Survey& names, const Structure& unet, std::vector<std::int64_t> skips,
                       ManifestBuilder& list) {
    std::int64_t channels = skips.back();
    for (std::int64_t i = 0; i < unet.blocks; ++i) {
        const Level& level = unet.levels[static_cast<std::size_t>(unet.level_of_output(i))];
        const std::string at = output_block(i);
        add_res_block(list, at + "0.", join(channels, skips.back()), level.channels, unet.time);
        skips.pop_back();
        channels = level.channels;
        if (level.attended) add_transformer(names, list, at + "1.", channels, unet.context);
        if (i % unet.period == unet.period - 1 && i + 1 < unet.blocks) {
            list.conv3(at + (level.attended ? "2.conv" : "1.conv"), channels, channels);
        }
    }
}

// Models pruned from XL keep one residual block in the middle.
bool is_pruned_middle(const Survey& names, const Architecture& architecture) {
    return architecture.size_width > 0 && names.any("middle_block.0.") &&
           !names.any("middle_block.1.") && !names.any("middle_block.2.");
}

}  // namespace

Manifest unet_manifest(const WeightSource& weights, const Architecture& architecture) {
    const Survey names(weights, "model.diffusion_model.");
    const Structure unet = survey_unet(names);
    ManifestBuilder list(names.root());
    list.linear("time_embed.0", unet.time, unet.channels);
    list.linear("time_embed.2", unet.time, unet.time);
    const std::vector<std::int64_t> skips = add_input_blocks(names, unet, list);
    const std::int64_t deepest = skips.back();
    // Vector conditioning, of whatever width it is.
    if (architecture.size_width > 0) {
        list.linear("label_emb.0.0", unet.time, -1);
        list.linear("label_emb.0.2", unet.time, unet.time);
    }
    if (architecture.unet_middle) {
        add_res_block(list, "middle_block.0.", deepest, deepest, unet.time);
        if (!is_pruned_middle(names, architecture)) {
            add_transformer(names, list, "middle_block.1.", deepest, unet.context);
            add_res_block(list, "middle_block.2.", deepest, deepest, unet.time);
        }
    }
    add_output_blocks(names, unet, skips, list);
    list.norm("out.0", unet.channels);
    list.conv3("out.2", -1, unet.channels);
    return list.take();
}

}  // namespace zoodip
