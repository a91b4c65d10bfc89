// Any bytes as each of the JSON files of a diffusers folder, and what they say as the metadata of a
// model.
#include "nn/diffusers_config.h"

#include <cmath>
#include <string>
#include <utility>

#include "fuzz.h"
#include "memory_file.h"

#include "nn/family.h"

namespace zoodip::fuzz {
namespace {

namespace fs = std::filesystem;

// A diffusers folder whose JSON files are all one file in memory.
class Folder {
  public:
    Folder() {
        std::string name = (fs::temp_directory_path() / "zoodip_fuzz_XXXXXX").string();
        require(mkdtemp(name.data()) != nullptr, "cannot make a folder");
        path_ = name;
        for (const char* part : {"unet", "text_encoder", "vae", "scheduler"}) {
            fs::create_directory(path_ / part);
        }
        for (const char* config :
             {"unet/config.json", "text_encoder/config.json", "vae/config.json",
              "scheduler/scheduler_config.json", "model_index.json", "config.json"}) {
            fs::create_symlink(file_.path(), path_ / config);
        }
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    const fs::path& path() const { return path_; }
    void fill(std::span<const std::byte> bytes) { file_.fill(bytes); }

  private:
    MemoryFile file_;
    fs::path path_;
};

// The names and shapes that tell the family of a model, and no numbers.
class Model : public WeightSource {
  public:
    explicit Model(std::map<std::string, std::string> metadata) : metadata_(std::move(metadata)) {}

    const std::vector<WeightInfo>& list() const override { return list_; }
    at::Tensor get(const std::string& name) const override { fail(name, ": has no numbers"); }
    const std::map<std::string, std::string>& metadata() const override { return metadata_; }
    const std::string& description() const override { return description_; }

  private:
    std::vector<WeightInfo> list_ = {
        {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
         {49408, 768},
         at::kHalf},
        {"first_stage_model.encoder.conv_in.weight", {128, 3, 3, 3}, at::kHalf},
        {"model.diffusion_model.input_blocks.0.0.weight", {320, 4, 3, 3}, at::kHalf},
        {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
         {320, 768},
         at::kHalf},
    };
    std::map<std::string, std::string> metadata_;
    std::string description_ = "model";
};

void check_architecture(const Architecture& found) {
    expect(found.text_width() == 768, "the width is that of the only text encoder");
    for (const TextEncoderSpec& spec : found.encoders) {
        expect(spec.heads >= 1 && spec.width % spec.heads == 0,
               "heads divide the text encoder's width");
        expect(spec.layer >= 1 && spec.layer <= 99, "a layer is taken");
    }
    const std::int64_t heads = found.unet_heads.of(320);
    expect(heads >= 1 && heads <= 1024, "the UNet's heads are within bounds");
    expect(found.latent_scale > 0 && std::isfinite(found.latent_scale) &&
               std::isfinite(found.latent_shift),
           "latents have a scale and a shift");
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    static Folder folder;
    folder.fill(as_span(data, size));
    accepted([] { refuse_foreign_folder(folder.path()); });
    accepted([&] {
        check_architecture(
            detect_architecture(Model(read_diffusers_metadata(folder.path(), size % 2 == 0))));
    });
    return 0;
}
