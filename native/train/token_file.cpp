#include "train/token_file.h"

#include <utility>

#include <ATen/ops/isfinite.h>

#include "core/error.h"
#include "nn/tensor_file.h"

namespace zoodip {
namespace {

// The names under which files hold the vectors for CLIP-L, ours and others'.
constexpr const char* clip_l_names[] = {"clip_l", "emb_params"};

at::Tensor checked(const at::Tensor& stored, const std::filesystem::path& file) {
    require(at::isFloatingType(stored.scalar_type()) && (stored.dim() == 1 || stored.dim() == 2) &&
                stored.numel() > 0,
            file.string(), ": its vectors have shape ", concat(stored.sizes()),
            ", expected [vectors, width]. It is no token file");
    at::Tensor vectors = stored.to(at::kFloat);
    if (vectors.dim() == 1) vectors = vectors.unsqueeze(0);
    require(at::isfinite(vectors).all().item<bool>(), file.string(),
            ": holds NaN or infinity. Train the word again");
    return vectors;
}

}  // namespace

void write_token(const std::filesystem::path& file, const TokenLayout& layout,
                 const at::Tensor& theta, const std::map<std::string, std::string>& metadata) {
    TensorFile contents;
    contents.metadata = metadata;
    for (const TokenSlot& slot : layout.slots()) {
        contents.tensors[slot.encoder] = layout.slice(theta.unsqueeze(0), slot)[0];
    }
    write_tensor_file(file, contents);
}

TokenFile read_token(const std::filesystem::path& file) {
    TensorFile contents = read_tensor_file(file);
    TokenFile token;
    token.metadata = std::move(contents.metadata);
    const auto word = token.metadata.find("word");
    const bool named = word != token.metadata.end() && !word->second.empty();
    token.word = named ? word->second : file.stem().string();
    for (const char* name : clip_l_names) {
        const auto found = contents.tensors.find(name);
        if (found != contents.tensors.end()) token.vectors["clip_l"] = checked(found->second, file);
    }
    if (token.vectors.empty() && contents.tensors.size() == 1) {
        token.vectors["clip_l"] = checked(contents.tensors.begin()->second, file);
    }
    require(!token.vectors.empty(), file.string(), ": holds ", contents.tensors.size(),
            " tensors, none called clip_l or emb_params. It is no token file for this family");
    return token;
}

}  // namespace zoodip
