// Training on what a graph of Python objects hands over.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/callbacks.h"
#include "python/guard.h"

#include "core/error.h"
#include "nn/inventory.h"
#include "nn/weight_source.h"
#include "objective/noise.h"
#include "train/memory_estimate.h"
#include "train/plan.h"

namespace py = pybind11;

namespace zoodip {
namespace {

// Weights that a Python function hands over, one at a time.
class PythonSource : public WeightSource {
  public:
    PythonSource(std::string description, std::map<std::string, std::string> metadata,
                 std::vector<WeightInfo> list, py::function get)
        : description_(std::move(description)),
          metadata_(std::move(metadata)),
          list_(std::move(list)),
          get_(std::make_unique<py::function>(std::move(get))) {
        std::sort(list_.begin(), list_.end(),
                  [](const auto& a, const auto& b) { return a.name < b.name; });
    }
    ~PythonSource() override {
        const py::gil_scoped_acquire gil;
        get_.reset();
    }

    const std::vector<WeightInfo>& list() const override { return list_; }
    const std::map<std::string, std::string>& metadata() const override { return metadata_; }
    const std::string& description() const override { return description_; }

    at::Tensor get(const std::string& name) const override {
        const WeightInfo* info = find(name);
        require(info != nullptr, description_, ": has no tensor '", name, "'");
        at::Tensor tensor = call(name);
        require(tensor.sizes() == at::IntArrayRef(info->shape), description_, ": '", name,
                "' has shape ", concat(tensor.sizes()), ", expected ",
                concat(at::IntArrayRef(info->shape)));
        return tensor.cpu().contiguous();
    }

  private:
    at::Tensor call(const std::string& name) const {
        const py::gil_scoped_acquire gil;
        return (*get_)(name).cast<at::Tensor>();
    }

    std::string description_;
    std::map<std::string, std::string> metadata_;
    std::vector<WeightInfo> list_;
    std::unique_ptr<py::function> get_;
};

Picture picture_of(const at::Tensor& pixels, const std::string& name) {
    require(pixels.dim() == 3 && pixels.size(2) == 3 && pixels.scalar_type() == at::kByte, name,
            ": needs uint8 [height, width, 3], got ", c10::toString(pixels.scalar_type()), " ",
            concat(pixels.sizes()));
    const at::Tensor plain = pixels.cpu().contiguous();
    const auto* data = plain.const_data_ptr<std::uint8_t>();
    return {static_cast<int>(plain.size(1)), static_cast<int>(plain.size(0)),
            std::vector<std::uint8_t>(data, data + plain.numel())};
}

// words: of each place, which of the words; empty where there is only one.
PreparedText text_of(const at::Tensor& ids, const std::vector<std::int64_t>& places,
                     std::vector<std::int64_t> fixed_positions, const EncoderTensors& fixed_vectors,
                     const std::vector<std::size_t>& words) {
    const at::Tensor plain = ids.cpu().contiguous();
    require(plain.dim() == 2 && plain.size(0) == 1 && plain.scalar_type() == at::kLong,
            "text: needs int64 ids [1, tokens], got ", c10::toString(plain.scalar_type()), " ",
            concat(plain.sizes()));
    const auto inside = [&](std::int64_t at) { return at >= 0 && at < plain.size(1); };
    require(std::all_of(places.begin(), places.end(), inside) &&
                std::all_of(fixed_positions.begin(), fixed_positions.end(), inside),
            "text: a word lies outside of the ", plain.size(1), " tokens");
    PreparedText text{.ids = plain, .places = {}};
    require(words.empty() || words.size() == places.size(), "text: ", places.size(),
            " places, but words of ", words.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
        text.places.push_back({words.empty() ? 0 : words[i], places[i]});
    }
    const auto places_of_others = static_cast<std::int64_t>(fixed_positions.size());
    for (const auto& [encoder, vectors] : fixed_vectors) {
        require(vectors.dim() == 2 && vectors.size(0) == places_of_others,
                "text: ", places_of_others, " places of other words, but vectors ",
                concat(vectors.sizes()));
        text.fixed_vectors[encoder] = vectors.to(at::kCPU, at::kFloat);
    }
    if (!fixed_vectors.empty()) text.fixed_positions = std::move(fixed_positions);
    return text;
}

void bind_inputs(py::module_& module) {
    module.def(
        "weights_from",
        [](const std::string& description, const std::map<std::string, std::string>& metadata,
           const std::vector<std::tuple<std::string, std::vector<std::int64_t>, at::ScalarType>>&
               list,
           py::function get) -> std::shared_ptr<WeightSource> {
            std::vector<WeightInfo> infos;
            for (const auto& [name, shape, dtype] : list) infos.push_back({name, shape, dtype});
            return std::make_shared<PythonSource>(description, metadata, std::move(infos),
                                                  std::move(get));
        },
        py::arg("description"), py::arg("metadata"), py::arg("list"), py::arg("get"),
        "A source of which get(name) hands over one tensor at a time; list: (name, shape, dtype).");
    py::class_<PreparedText>(module, "PreparedText", "One text as ids, and where words go.")
        .def(py::init(&text_of), py::arg("ids"), py::arg("places") = std::vector<std::int64_t>{},
             py::arg("fixed_positions") = std::vector<std::int64_t>{},
             py::arg("fixed_vectors") = EncoderTensors{},
             py::arg("words") = std::vector<std::size_t>{},
             "ids int64 [1, tokens]; places: the first position of each occurrence of the new "
             "word; fixed_vectors, by text encoder: float32 [positions, width], those of other "
             "words; words: of each place, which of several new words.");
    py::class_<TrainingPicture>(module, "TrainingPicture", "A picture with its caption.")
        .def(py::init([](const std::string& name, const std::string& sha256,
                         const std::string& caption, const PreparedText& text,
                         const at::Tensor& pixels) {
                 require(!text.places.empty(), name, ": its caption does not contain the word");
                 return TrainingPicture{name, sha256, {caption}, {text}, picture_of(pixels, name)};
             }),
             py::arg("name"), py::arg("sha256"), py::arg("caption"), py::arg("text"),
             py::arg("pixels"), "pixels: uint8 [height, width, 3].");
}

void bind_request(py::module_& module) {
    py::class_<GraphRequest>(module, "GraphRequest", "What a graph asks for. See zoodip.graph.")
        .def(py::init(
                 [](std::shared_ptr<WeightSource> source, std::vector<TrainingPicture> pictures,
                    const std::string& word, const std::string& initialiser, StartVectors start,
                    const std::string& settings, std::optional<std::vector<double>> alphas_cumprod,
                    const PreparedText& empty_text, const SelfCheck& check,
                    const std::string& compute_choice,
                    const std::vector<std::tuple<std::string, std::string, StartVectors>>& also) {
                     std::vector<StartedWord> further;
                     for (const auto& [other, kind, from] : also)
                         further.push_back({other, kind, from});
                     return GraphRequest{std::move(source),
                                         std::move(pictures),
                                         word,
                                         initialiser,
                                         std::move(start),
                                         {},
                                         nlohmann::json::parse(settings),
                                         std::move(alphas_cumprod),
                                         empty_text,
                                         check,
                                         compute_choice,
                                         std::move(further)};
                 }),
             py::kw_only(), py::arg("source"), py::arg("pictures"), py::arg("word"),
             py::arg("initialiser"), py::arg("start"), py::arg("settings"),
             py::arg("alphas_cumprod"), py::arg("empty_text"), py::arg("check"),
             py::arg("compute_choice"), py::arg("also"));
}

void bind_check(py::module_& module) {
    py::class_<SelfCheck>(module, "SelfCheck",
                          "What the owner of the weights made of given inputs.")
        .def(py::init<>())
        .def(
            "latent",
            [](SelfCheck& self, const at::Tensor& pixels, const at::Tensor& expected) {
                self.latent = {pixels, expected};
            },
            py::arg("pixels"), py::arg("expected"),
            "pixels [1, 3, h, w] in [-1, 1] -> latents in the UNet's scale.")
        .def(
            "text",
            [](SelfCheck& self, const PreparedText& text, const at::Tensor& expected,
               const std::optional<at::Tensor>& pooled) {
                self.text = {text, expected, pooled.value_or(at::Tensor())};
            },
            py::arg("text"), py::arg("expected"), py::arg("pooled") = py::none(),
            "A text without the word -> [1, tokens, width], and its pooled vector.")
        .def(
            "denoised",
            [](SelfCheck& self, const at::Tensor& z_t, std::int64_t timestep,
               const at::Tensor& context, const at::Tensor& expected,
               const std::optional<at::Tensor>& y) {
                self.denoised = {z_t, timestep, context, expected, y.value_or(at::Tensor())};
            },
            py::arg("z_t"), py::arg("timestep"), py::arg("context"), py::arg("expected"),
            py::arg("y") = py::none(), "z_t [1, 4, h, w] of the variance-preserving scale -> x0.");
    module.attr("SELF_CHECK_LIMITS") = py::dict(py::arg("latent") = self_check_limit::latent,
                                                py::arg("text") = self_check_limit::text,
                                                py::arg("denoised") = self_check_limit::denoised);
}

}  // namespace

void bind_graph(py::module_& module) {
    bind_inputs(module);
    bind_check(module);
    bind_request(module);
    module.def(
        "estimate_memory",
        [](const WeightSource& source, const std::string& settings) {
            return run_engine([&] {
                const TrainSettings resolved =
                    resolve_settings(nlohmann::json::parse(settings), detect_architecture(source));
                return estimate_memory(source, take_inventory(source), resolved).peak();
            });
        },
        py::arg("source"), py::arg("settings"), "Bytes that training takes at its peak.");
    module.def(
        "resolve_settings",
        [](const WeightSource& source, const std::string& settings, bool fit) {
            return run_engine([&] {
                const auto resolved = settings_for(nlohmann::json::parse(settings), source, fit);
                return std::make_pair(get_fields(resolved.settings, train_setting_fields()).dump(),
                                      resolved.compute_choice);
            });
        },
        py::arg("source"), py::arg("settings"), py::arg("fit"), "See zoodip.graph.decide.");
    module.def(
        "alphas_cumprod",
        [](const WeightSource& source, const std::string& settings) {
            return run_engine([&] {
                const Architecture architecture = detect_architecture(source);
                const auto chosen = resolve_settings(nlohmann::json::parse(settings), architecture);
                const NoiseSchedule schedule(choose_betas(chosen, architecture));
                std::vector<double> all;
                for (std::int64_t t = 0; t < schedule.steps(); ++t) {
                    all.push_back(schedule.alphas_cumprod(t));
                }
                return all;
            });
        },
        py::arg("source"), py::arg("settings") = "{}",
        "The noise schedule that training with these weights and settings uses.");
    module.def(
        "personalize_graph",
        [](const GraphRequest& given, const std::filesystem::path& out, bool resume, bool overwrite,
           const py::object& on_stage, const py::object& on_forecast, const py::object& on_step,
           const py::object& on_event, const py::object& on_preview, double preview_share,
           const CancelToken& cancel) {
            GraphRequest request = given;
            request.output = {out, resume, overwrite};
            for (const StartedWord& other : request.also)
                request.output.also.push_back(token_called(out.parent_path(), other.word));
            Callbacks callbacks(cancel);
            PythonObserver observer(
                {on_stage, on_forecast, on_step, on_event, on_preview, preview_share}, callbacks);
            return run_personalize(request, observer, callbacks, cancel);
        },
        py::arg("request"), py::kw_only(), py::arg("out"), py::arg("resume"), py::arg("overwrite"),
        py::arg("on_stage"), py::arg("on_forecast"), py::arg("on_step"), py::arg("on_event"),
        py::arg("on_preview"), py::arg("preview_share"), py::arg("cancel"), "See zoodip.graph.");
}

}  // namespace zoodip
