// The pictures of the subject and what is said of them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/cancel.h"
#include "io/picture.h"
#include "nn/vae.h"
#include "pictures/picture_folder.h"
#include "pictures/picture_size.h"
#include "words/captions.h"

namespace zoodip {

struct TrainingPicture {
    std::string name;
    std::string sha256;                 // of the file, or of what an edge handed over
    std::vector<std::string> captions;  // as many as texts
    std::vector<PreparedText> texts;    // at least one: every step draws one of them
    std::variant<std::filesystem::path, Picture> source;  // decoded when it is needed, or already
    std::int64_t repeats = 1;  // how often it is drawn where another is drawn once
};

// The pictures of a folder in its order, each with its own caption or with `default_captions`.
// Nothing is decoded yet. Throws Error for a caption without one of the words, and for a picture
// without one where there is no default.
std::vector<TrainingPicture> training_pictures(const PictureFolder& folder,
                                               const std::vector<std::string>& default_captions,
                                               const Tokenizer& tokenizer,
                                               const std::vector<PlacedWord>& words);

// Latent moments of one picture and of its mirror image: computed once, since they never change.
struct LatentPicture {
    Moments moments[2];  // [0] as it is, [1] mirrored; undefined when flips are never drawn
    // The same two, with the size that the file has.
    std::array<PictureSize, 2> sizes;
    std::int64_t captions = 1;  // texts to draw from
    std::int64_t repeats = 1;   // of TrainingPicture
};

// side: of the square that is taken of the middle, keeping the aspect. on_picture(done, total) is
// called after each picture.
std::vector<LatentPicture> encode_pictures(
    const std::vector<TrainingPicture>& pictures, const LatentEncoder& encoder, std::int64_t side,
    bool with_flips, at::Device device,
    const std::function<void(std::size_t, std::size_t)>& on_picture);

}  // namespace zoodip
