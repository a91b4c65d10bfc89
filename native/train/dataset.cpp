#include "train/dataset.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/flip.h>

#include "core/error.h"
#include "core/sha256.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

constexpr std::size_t max_picture_bytes = 256u << 20;
constexpr std::size_t max_caption_bytes = 64u << 10;

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string read_text(const std::filesystem::path& file) {
    const auto bytes = read_file(file, max_caption_bytes);
    return trimmed(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

std::vector<TrainingPicture> list_training_pictures(
    const std::filesystem::path& folder, const std::vector<std::string>& default_captions,
    const Tokenizer& tokenizer, const PlacedWord& word) {
    std::vector<TrainingPicture> pictures;
    for (const auto& file : list_pictures(folder)) {
        TrainingPicture picture;
        picture.name = file.filename().string();
        picture.source = file;
        Sha256 hash;
        hash.update(read_file(file, max_picture_bytes));
        picture.sha256 = hash.hex();
        std::filesystem::path beside = file;
        beside.replace_extension(".txt");
        const bool own = std::filesystem::exists(beside);
        picture.captions = own ? std::vector{read_text(beside)} : default_captions;
        for (const std::string& caption : picture.captions) {
            picture.texts.push_back(prepare_caption(
                tokenizer, caption, word, own ? beside.string() : std::string("caption")));
        }
        pictures.push_back(std::move(picture));
    }
    return pictures;
}

at::Tensor load_pixels(const TrainingPicture& training, std::int64_t side) {
    const auto* file = std::get_if<std::filesystem::path>(&training.source);
    const auto length = static_cast<int>(side);
    const Picture picture = file != nullptr
                                ? read_training_picture(*file, training.name, length)
                                : crop_resize(std::get<Picture>(training.source), length, length);
    at::Tensor pixels = at::empty({1, side, side, 3}, at::kFloat);
    float* out = pixels.mutable_data_ptr<float>();
    for (std::size_t i = 0; i < picture.rgb.size(); ++i) {
        out[i] = static_cast<float>(picture.rgb[i]) / 127.5f - 1.0f;
    }
    return pixels.permute({0, 3, 1, 2});
}

std::vector<LatentPicture> encode_pictures(
    const std::vector<TrainingPicture>& pictures, const LatentEncoder& encoder, std::int64_t side,
    bool with_flips, at::Device device,
    const std::function<void(std::size_t, std::size_t)>& on_picture) {
    std::vector<LatentPicture> latents;
    for (const TrainingPicture& picture : pictures) {
        const at::Tensor pixels = load_pixels(picture, side).to(device);
        LatentPicture latent;
        latent.captions = static_cast<std::int64_t>(picture.texts.size());
        latent.moments[0] = encoder.encode(pixels);
        if (with_flips) latent.moments[1] = encoder.encode(at::flip(pixels, {3}));
        latents.push_back(std::move(latent));
        on_picture(latents.size(), pictures.size());
    }
    return latents;
}

}  // namespace zoodip
