#include "core/suggest.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include "core/ascii.h"
#include "core/error.h"
#include "core/settings.h"

namespace zoodip {
namespace {

// Levenshtein's distance.
std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({row[j] + 1, diagonal + 1, replaced});
        }
    }
    return row[b.size()];
}

struct OtherNames {
    std::string_view ours, others;  // with spaces around each
};

// What A1111, diffusers' examples, kohya's scripts, OneTrainer and programs for evaluation call it.
constexpr std::array other_names = {
    OtherNames{"learning_rate", " lr rate learning_rate_ti unet_lr text_encoder_lr "},
    OtherNames{"learning_rate_schedule", " lr_scheduler lr_schedule scheduler "},
    OtherNames{"steps",
               " epochs epoch num_epochs iterations iters num_iterations max_train_steps max_steps "
               "train_steps num_steps total_steps num_train_epochs max_train_epochs "
               "num_inference_steps inference_steps sampling_steps ddim_steps "},
    OtherNames{"images",
               " instance_data_dir train_data_dir data_dir data dataset dataset_dir image_dir "
               "image_folder images_dir img_dir input input_dir pictures photos train_dir "
               "data_root concept_images "},
    OtherNames{"model",
               " pretrained_model pretrained_model_name_or_path pretrained_model_name checkpoint "
               "ckpt ckpt_path base_model base_model_name model_path model_name sd_model "
               "checkpoint_path "},
    OtherNames{"word",
               " placeholder_token placeholder trigger trigger_word token_string new_word concept "
               "keyword name instance_token embedding_name "},
    OtherNames{"init",
               " initializer_token initialiser initializer initialiser_token init_word init_token "
               "initialization_text initial_text class_word class class_prompt coarse_class "},
    OtherNames{"out",
               " output output_dir output_file output_path output_name save_path save_dir save o "
               "outfile "},
    OtherNames{"batch", " batch_size train_batch_size bs "},
    OtherNames{"resolution", " size res image_size train_resolution "},
    OtherNames{"checkpoint_every",
               " save_steps save_every checkpointing_steps save_every_n_steps "
               "save_model_every_n_steps save_embedding_every "},
    OtherNames{"checkpoints_kept", " checkpoints_total_limit save_total_limit "},
    OtherNames{"validate_every", " validation_steps eval_steps eval_every val_every "},
    OtherNames{"validation_samples", " num_validation_images "},
    OtherNames{"preview_every",
               " sample_every sample_every_n_steps preview_steps sample_steps "
               "create_image_every "},
    OtherNames{"compute", " mixed_precision precision dtype bf16 fp16 full_bf16 "},
    OtherNames{"weights", " quant quantization quantize bits load_in_8bit load_in_4bit int8 int4 "},
    OtherNames{"vectors", " num_vectors num_vectors_per_token vectors_per_token "},
    OtherNames{"resume", " resume_from_checkpoint continue resume_from "},
    OtherNames{"overwrite", " force f y yes replace "},
    OtherNames{"seed", " random_seed rng_seed "},
    OtherNames{"guidance", " cfg cfg_scale guidance_scale scale "},
    OtherNames{"negative", " negative_prompt neg uncond "},
    OtherNames{"token", " embedding embeddings tokens ti textual_inversion "},
    OtherNames{"prompt", " text p "},
    OtherNames{"width", " w W "},
    OtherNames{"height", " h H "},
    OtherNames{"threads", " num_threads cpu_threads n_threads workers num_workers num_processes "},
    OtherNames{"memory_limit", " max_memory memory vram max_vram ram "},
    OtherNames{"flip", " flip_aug random_flip hflip flip_p "},
    OtherNames{"mu", " eps epsilon zo_eps perturbation sigma smoothing "},
    OtherNames{"n", " num_directions num_perturbations num_queries queries q "},
    OtherNames{"templates", " learnable_property template prompt_template "},
    OtherNames{"caption", " instance_prompt caption_template "},
    OtherNames{"prediction", " prediction_type parameterization v_parameterization v_prediction "},
    OtherNames{"early_stop", " patience early_stopping "},
    OtherNames{"log", " log_file logfile logging_dir log_dir report_to "},
    OtherNames{"device", " gpu cuda use_cuda "},
    OtherNames{"clip_skip", " clip_layer "},
};

// --Learning-Rate and learning_rate -> learning_rate
std::string plain(const std::string& name) {
    std::string text = lower_ascii(name.substr(std::min(name.find_first_not_of('-'), name.size())));
    std::replace(text.begin(), text.end(), '-', '_');
    return text;
}

std::string meant(const std::string& candidate) {
    return candidate.empty() ? candidate : concat("; did you mean '", candidate, "'?");
}

// What we call it; empty where nobody else calls anything so.
std::string by_other_name(const std::string& name) {
    const std::string wanted = concat(" ", plain(name), " ");
    for (const OtherNames& row : other_names) {
        if (row.others.find(wanted) != std::string_view::npos) return std::string(row.ours);
    }
    return {};
}

}  // namespace

std::string closest(const std::string& name, const std::vector<std::string>& candidates) {
    const auto best = std::min_element(candidates.begin(), candidates.end(),
                                       [&](const std::string& a, const std::string& b) {
                                           return edit_distance(name, a) < edit_distance(name, b);
                                       });
    return best == candidates.end() ? std::string{} : *best;
}

// An argument, such as model, is as good as a setting to whoever writes both side by side.
std::string nearest_name(const std::string& name, const std::vector<std::string>& candidates) {
    const std::string ours = by_other_name(name);
    return ours.empty() ? closest(name, candidates) : ours;
}

std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates) {
    const std::string ours = by_other_name(name);
    for (const std::string& candidate : candidates) {
        if (!ours.empty() && plain(candidate) == ours) return meant(candidate);
    }
    const std::string near = closest(name, candidates);
    const std::size_t few = std::max<std::size_t>(2, plain(name).size() / 2);
    return edit_distance(name, near) > few ? std::string() : meant(near);
}

}  // namespace zoodip
