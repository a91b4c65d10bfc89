#include "nn/tensor_file.h"

#include <vector>

#include "nn/safetensors_source.h"

namespace zoodip {

void write_tensor_file(const std::filesystem::path& file, const TensorFile& contents) {
    std::vector<at::Tensor> held;
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, tensor] : contents.tensors) {
        held.push_back(tensor.cpu().contiguous());
        const at::Tensor& t = held.back();
        tensors.push_back({name,
                           dtype_of(t.scalar_type()),
                           t.sizes().vec(),
                           {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}});
    }
    write_safetensors(file, std::move(tensors), contents.metadata);
}

TensorFile read_tensor_file(const std::filesystem::path& file) {
    const SafetensorsFile stored(file);
    TensorFile contents;
    contents.metadata = stored.metadata();
    for (const TensorInfo& info : stored.tensors()) {
        contents.tensors[info.name] = read_tensor(stored, info);
    }
    return contents;
}

}  // namespace zoodip
