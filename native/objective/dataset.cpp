#include "objective/dataset.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/flip.h>

#include "core/error.h"
#include "core/sha256.h"
#include "pictures/named_file.h"

namespace zoodip {
namespace {

constexpr std::size_t max_picture_bytes = 256u << 20;
// Of a picture in a folder: its own caption, else the default ones.
void add_texts(const FolderPicture& from, const std::vector<std::string>& default_captions,
               const Tokenizer& tokenizer, const std::vector<PlacedWord>& words,
               TrainingPicture& picture) {
    const bool own = !from.caption.empty();
    picture.captions = own ? std::vector{from.caption} : default_captions;
    require(!picture.captions.empty(), from.name,
            ": has no caption. Of several words it says which ",
            "are seen: write one into a file beside it, or set `caption` for all pictures");
    std::string source = own ? from.source : "caption";
    if (from.caption_is_folder_name) {
        source += ": the folder's name is the caption of its pictures without one";
    }
    for (const std::string& caption : picture.captions) {
        picture.texts.push_back(prepare_caption(tokenizer, caption, words, source));
    }
}

Picture picture_of(const TrainingPicture& training) {
    const auto* file = std::get_if<std::filesystem::path>(&training.source);
    if (file == nullptr) return std::get<Picture>(training.source);
    return read_training_picture(*file, training.name);
}

// float32 [1, 3, side, side] in [-1, 1].
at::Tensor pixels_of(const Picture& whole, std::int64_t side) {
    const Picture picture = crop_resize(whole, static_cast<int>(side), static_cast<int>(side));
    at::Tensor pixels = at::empty({1, side, side, 3}, at::kFloat);
    float* out = pixels.mutable_data_ptr<float>();
    for (std::size_t i = 0; i < picture.rgb.size(); ++i) {
        out[i] = static_cast<float>(picture.rgb[i]) / 127.5f - 1.0f;
    }
    return pixels.permute({0, 3, 1, 2});
}

}  // namespace

std::vector<TrainingPicture> training_pictures(const PictureFolder& folder,
                                               const std::vector<std::string>& default_captions,
                                               const Tokenizer& tokenizer,
                                               const std::vector<PlacedWord>& words) {
    std::vector<TrainingPicture> pictures;
    for (const FolderPicture& from : folder.pictures) {
        TrainingPicture picture;
        picture.name = from.name;
        picture.source = from.file;
        picture.repeats = from.repeats;
        Sha256 hash;
        hash.update(read_named_file(from.file, from.name, max_picture_bytes));
        picture.sha256 = hash.hex();
        add_texts(from, default_captions, tokenizer, words, picture);
        pictures.push_back(std::move(picture));
    }
    return pictures;
}

std::vector<LatentPicture> encode_pictures(
    const std::vector<TrainingPicture>& pictures, const LatentEncoder& encoder, std::int64_t side,
    bool with_flips, at::Device device,
    const std::function<void(std::size_t, std::size_t)>& on_picture) {
    std::vector<LatentPicture> latents;
    for (const TrainingPicture& picture : pictures) {
        LatentPicture latent;
        at::Tensor pixels;
        {
            const Picture whole = picture_of(picture);
            pixels = pixels_of(whole, side).to(device);
            for (const bool mirrored : {false, true}) {
                latent.sizes[mirrored] =
                    PictureSize::square_of(whole.height, whole.width, side, mirrored);
            }
        }
        latent.captions = static_cast<std::int64_t>(picture.texts.size());
        latent.repeats = picture.repeats;
        latent.moments[0] = encoder.encode(pixels);
        if (with_flips) latent.moments[1] = encoder.encode(at::flip(pixels, {3}));
        latents.push_back(std::move(latent));
        on_picture(latents.size(), pictures.size());
    }
    return latents;
}

}  // namespace zoodip
