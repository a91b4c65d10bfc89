// The declarations: name, range or choices, unit, help, equation.
#include <utility>

#include "core/listed.h"
#include "settings/settings.h"

namespace zoodip {
namespace {

using Field = Setting<TrainSettings>;
using S = TrainSettings;
using Member = decltype(Field::member);

struct Text {
    std::string help, equation = "", unit = "", notes = "";
};

Field number(const char* name, Member member, double low, double high, Text text) {
    return {name, member, low, high, {}, text.unit, text.help, text.equation, text.notes};
}

template <class T>
Field choice(const char* name, T S::*member, const NameTable<T>& table, Text text) {
    return {name,
            named_member(member, table),
            0,
            0,
            names_in(table),
            text.unit,
            text.help,
            text.equation,
            text.notes};
}

Field one_of(const char* name, std::string S::*member, std::vector<std::string> names, Text text) {
    return {name, member, 0, 0, std::move(names), text.unit, text.help, text.equation, text.notes};
}

Field plain(const char* name, Member member, Text text) {
    return {name, member, 0, 0, {}, text.unit, text.help, text.equation, text.notes};
}

// One that changes how a run goes, not what comes out.
Field free(Field field) {
    field.decides = false;
    return field;
}

std::string estimator_list() {
    std::vector<std::string> names;
    for (const EstimatorKind* kind : all_estimators()) names.push_back(kind->name);
    return listed(names);
}

std::string passes_of_methods() {
    std::string text;
    for (const EstimatorKind* kind : all_estimators()) {
        text += concat(kind->name, " ", kind->takes, "; ");
    }
    return text + "exact one forward and one backward pass.";
}

std::vector<Field> method_fields() {
    return {
        choice(
            "preset", &S::preset, preset_names(),
            {"Whose values stand for what is not chosen: auto, the paper's for estimates and this "
             "engine's for the exact gradient; few_passes, this engine's for estimates too; "
             "paper, the paper's alone, for the model's family or a named one.",
             "", "",
             "few_passes learns from 8 slopes a step within 32 directions that the text encoder "
             "is sensitive to, by residuals, with a learning rate that falls to zero and follows "
             "from the model's own words: a run of a set length, in fp32 or bf16."}),
        number("steps", &S::steps, 0, 1e7,
               {"How many updates of the word to make. 0 takes 30000, with preset few_passes 300; "
                "with "
                "the exact gradient 500, and with the paper's preset 1000.",
                "", "steps"}),
        choice(
            "method", &S::method, method_names(),
            {concat("How the gradient is found: from forward passes alone (", estimator_list(),
                    "), or by back-propagation through the quantised weights (exact), which takes "
                    "more memory and far fewer steps. auto takes exact where the estimate says "
                    "that it fits in free memory, else ",
                    usual_estimate().estimator->name, "."),
             "", "", passes_of_methods()}),
        choice("slope", &S::slope, slope_names(),
               {"What a slope is made of: the difference of two losses; or, for rge, the residual "
                "times the change of the prediction, which lacks the squared term.",
                "residual: (2/N) <eps(theta) - eps, eps(theta + mu e_i) - eps(theta)> / mu", "",
                "The squared term, mu/2 e' H e, can be as large as the slope itself along "
                "directions that the loss is sensitive to."}),
        number("n", &S::n, 1, 64,
               {"Slopes a step, each along a random direction.",
                "g = 1/n sum_i (L(theta + mu e_i) - L(theta)) / mu e_i"}),
        number("mu", &S::mu, 0, 1,
               {"How far along a direction the loss is looked at. 0 takes 1e-3, with bf16 "
                "products or int4 weights 1e-2, with int8 products 2e-2.",
                "theta + mu e_i"}),
        choice("mu_scale", &S::mu_scale, mu_scale_names(),
               {"For models with two text encoders: one mu for both, as the paper has it; or for "
                "each in proportion to the mean norm of its table's rows, which inspect shows.",
                "table: mu_e = mu norm_e / norm_1"}),
        choice("directions", &S::directions, directions_names(),
               {"Where the directions lie: anywhere (normal); within the leading principal "
                "directions of the vocabulary; within what the related words span; or within those "
                "that what the UNet reads of a caption is most sensitive to.",
                "normal: e_i ~ N(0, I); sensitive: e_i = sqrt(k) q_i U with orthonormal q_i; else "
                "e_i = z_i U, z_i ~ N(0, I)",
                "",
                "The sensitive ones are found from the text encoder alone, before the first step: "
                "leading eigenvectors of J^T M^T M J, J from the word to its captions' states, M "
                "the keys and values of the UNet's cross-attention."}),
        number("direction_rank", &S::direction_rank, 1, 4096,
               {"How many sensitive or principal directions."}),
        plain("related_words", &S::related_words,
              {"Words that the model knows, with spaces between, whose vectors span the "
               "directions: dog puppy wolf brown fur."}),
        number("batch", &S::batch, 1, 64,
               {"How many (picture, timestep, noise) a step looks at. All points of a step see the "
                "same ones; passes and time grow with it."}),
        number("chunk", &S::chunk, 0, 128,
               {"How many points pass through the UNet at once; fewer take less memory. 0 takes "
                "all, or fewer where memory is short."}),
        number("learning_rate", &S::learning_rate, 0, 10,
               {"Step size of ZOAdam. 0 takes 5e-3; with the exact gradient or preset few_passes "
                "a share of what the numbers of the model's words are like.",
                "theta -= learning_rate mhat / (sqrt(vhat) + adam_eps)"}),
        number("adam_eps", &S::adam_eps, 0, 1,
               {"Keeps ZOAdam from dividing by zero; one as large as the paper's makes steps go "
                "with the slopes' own scale. 0 takes the paper's 1e-3, with the exact gradient or "
                "preset few_passes 1e-8."}),
        choice("learning_rate_schedule", &S::learning_rate_schedule, learning_rate_schedule_names(),
               {"How the learning rate falls over the steps: not; in a line to zero; along half a "
                "cosine to zero; or by the steps done so far, whatever is to come. Unless one is "
                "chosen the exact gradient takes inverse, and preset few_passes linear.",
                "inverse: 1 / (1 + step / 100)"}),
        number("average_steps", &S::average_steps, 0, 1e7,
               {"The word is the mean over the last so many steps; 0 takes the last one.", "",
                "steps"}),
    };
}

std::vector<Field> subspace_fields() {
    return {
        plain("subspace", &S::subspace,
              {"Subspace gradient: leave out the directions in which the last tau words hardly "
               "moved.",
               "g' = g (I - P^T P)"}),
        number("tau", &S::tau, 0, 8192,
               {"How many words the subspace is found from. 0 takes 128, for a narrower text "
                "encoder a sixth of its width.",
                "", "steps"}),
        number("nu", &S::nu, 1e-9, 0.999,
               {"Share of the variance that counts as hardly moved.",
                "i* = min i: sum_{j<=i} lambda_j / sum_k lambda_k > 1 - nu"}),
        choice("timesteps", &S::timesteps, timestep_names(),
               {"How timesteps are drawn. puts, evenly between t_lower and t_upper; uniform, from "
                "all; snr, the noisier the oftener; stratified, as puts, but each tenth of the "
                "range once in ten draws.",
                "puts: t ~ U{t_lower, ..., t_upper - 1}; snr: p(t) ~ 1 / (1 + SNR(t))"}),
        number("t_lower", &S::t_lower, 0, 999, {"Smallest timestep drawn by puts and stratified."}),
        number("t_upper", &S::t_upper, 1, 1000,
               {"One more than the largest timestep drawn by puts and stratified."}),
    };
}

std::vector<Field> data_fields() {
    return {
        number("vectors", &S::vectors, 0, 32,
               {"Vectors that the word consists of, each a token of the prompt. 0 takes one for "
                "each word of the initialiser."}),
        number("resolution", &S::resolution, 0, 2048,
               {"Pictures are cropped and scaled to squares of this side; time and memory grow "
                "with its square. 0 takes what the model was made for, 512 for Stable Diffusion "
                "1.x.",
                "", "pixels"}),
        number("flip", &S::flip, 0, 1,
               {"Probability of a mirrored picture. 0 for subjects with writing on them."}),
        choice("picture_sizes", &S::picture_sizes, picture_sizes_names(),
               {"What a model that is told sizes (XL) learns of each picture: that it is whole and "
                "as large as the training's squares, as hosts tell when they draw; or its file's "
                "own size and what was cut off."}),
        plain("caption", &S::caption,
              {"Caption of pictures that have none of their own; {} is where the word goes. "
               "Empty draws one of the templates in every step."}),
        plain("templates", &S::templates,
              {"Which sentences stand in for captions: object, a photo of a {}, ...; style, a "
               "painting in the style of {}, ...; or your own, one in a line with {} where the "
               "word goes, on the command line also a file of them: 1girl, {}, solo."}),
        number("seed", &S::seed, 0, 9007199254740991.0, {"All randomness follows from it."}),
    };
}

std::vector<Field> machine_fields() {
    return {
        number("clip_skip", &S::clip_skip, 1, 12,
               {"1 takes the text encoder's last layer, 2 the one before."}),
        choice("prediction", &S::prediction, open_prediction_names(),
               {"What the UNet was trained to predict; auto follows the model's own metadata, else "
                "epsilon."}),
        choice("zero_snr", &S::zero_snr, on_off_names(),
               {"Whether the model was trained with zero terminal SNR: nothing of the picture is "
                "left at the last timestep. auto follows the file (a diffusers folder's "
                "rescale_betas_zero_snr, a checkpoint's ztsnr).",
                "sqrt(abar_t) -> (sqrt(abar_t) - sqrt(abar_T)) sqrt(abar_0) / (sqrt(abar_0) - "
                "sqrt(abar_T))"}),
        choice(
            "beta_schedule", &S::beta_schedule, open_beta_kind_names(),
            {"The noise schedule that the model was trained on; trained is the list of betas in a "
             "diffusers folder's configuration. auto follows such a configuration, else "
             "scaled_linear; a wired model brings its own.",
             "abar_t = (1 - beta_0) ... (1 - beta_t)"}),
        number("beta_start", &S::beta_start, 0, 0.999,
               {"First beta of scaled_linear and linear. 0 takes the model's, else 0.00085."}),
        number("beta_end", &S::beta_end, 0, 0.999,
               {"Last beta of scaled_linear and linear. 0 takes the model's, else 0.012."}),
        choice("weights", &S::weights, weight_type_names(),
               {"How Linear and Conv2d weights are kept. int8 takes a quarter of the memory of "
                "dense fp32; int4 halves the UNet's again and leaves text encoder and autoencoder "
                "in int8.",
                "int8: W_q = round(W / s), s = max|W_row| / 127; int4: W_q = round((W - min) / s), "
                "s = (max - min) / 15 of a group"}),
        choice(
            "compute", &S::compute, open_compute_names(),
            {"What the inputs of the UNet's large products are rounded to; int8 is for the CPU and "
             "int8 weights. auto times products of the model's own shapes, once, and takes what "
             "makes the shortest training here to equal quality.",
             "", "",
             "On the CPU all else stays float32; on a graphics card bf16 is the type of all "
             "activations, which hides small differences of the loss, and auto is fp32 there and "
             "with dense weights. int8 finds its scales in the run's own first draws. What "
             "each takes and does to the slopes is in docs/PERFORMANCE.md of the repository."}),
        free(one_of("device", &S::device, {"cpu", "cuda"}, {"Where the model runs."})),
        free(number("threads", &S::threads, 0, 1024,
                    {"Processor threads; 0 leaves the choice to torch."})),
        free(
            number("memory_limit", &S::memory_limit, 0, 1e7,
                   {"What the run may take, with the program itself; with less than it needs it is "
                    "refused before it starts. 0 takes what the device has free.",
                    "", "MB"})),
    };
}

std::vector<Field> run_fields() {
    return {
        number("validate_every", &S::validate_every, 0, 1e7,
               {"How often the loss of fixed samples is taken, which decides the best word; before "
                "the first step and after the last one as well; 0 never.",
                "", "steps"}),
        number("validation_samples", &S::validation_samples, 1, 256,
               {"How many fixed (picture, timestep, noise) validation looks at."}),
        number("early_stop", &S::early_stop, 0, 1e6,
               {"Stop when so many validations brought nothing better; 0 never."}),
        number("divergence", &S::divergence, 0, 1000,
               {"Stop when the mean loss rises to so many times its lowest; 0 never."}),
        free(number("checkpoint_every", &S::checkpoint_every, 1, 1e7,
                    {"How often the run's state and the word so far are written.", "", "steps"})),
        free(number("checkpoints_kept", &S::checkpoints_kept, 1, 1000,
                    {"How many states are kept until the run ends."})),
        free(number(
            "preview_every", &S::preview_every, 0, 1e7,
            {"How often a preview is drawn, always from the same noise; 0 never.", "", "steps"})),
        choice("take", &S::take, take_names(),
               {"Which word comes out: that of the last step, or that of the lowest validation "
                "loss. The run goes on from the last step either way."}),
    };
}

}  // namespace

const std::vector<Field>& train_setting_fields() {
    static const std::vector<Field> fields = [] {
        const std::pair<const char*, std::vector<Field>> groups[] = {
            {"method", method_fields()},
            {"subspace and timesteps", subspace_fields()},
            {"pictures and words", data_fields()},
            {"machine", machine_fields()},
            {"run", run_fields()}};
        std::vector<Field> all;
        for (const auto& [group, part] : groups) {
            for (Field field : part) {
                field.group = group;
                all.push_back(std::move(field));
            }
        }
        return all;
    }();
    return fields;
}

}  // namespace zoodip
