// Any names, shapes and metadata as a model: what it is told to be, and which tensors it must have.
// A line is `name size size ...`, or `key=value` of the metadata.
#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz.h"

#include "nn/manifest.h"

namespace zoodip::fuzz {
namespace {

class Names : public WeightSource {
  public:
    explicit Names(std::string_view text) {
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end = std::min(text.find('\n', begin), text.size());
            add(text.substr(begin, end - begin));
            begin = end + 1;
        }
        for (const auto& [name, shape] : tensors_) list_.push_back({name, shape, at::kHalf});
    }

    const std::vector<WeightInfo>& list() const override { return list_; }
    at::Tensor get(const std::string& name) const override { fail(name, ": has no numbers"); }
    const std::map<std::string, std::string>& metadata() const override { return metadata_; }
    const std::string& description() const override { return description_; }

  private:
    void add(std::string_view line) {
        if (const auto sign = line.find('='); sign != std::string_view::npos) {
            metadata_[std::string(line.substr(0, sign))] = line.substr(sign + 1);
            return;
        }
        std::vector<std::int64_t> shape;
        const std::size_t space = std::min(line.find(' '), line.size());
        for (std::size_t at = space; at < line.size();) {
            std::int64_t size = 0;
            const auto [stop, error] =
                std::from_chars(line.data() + at + 1, line.data() + line.size(), size);
            if (error != std::errc() || size < 0) break;
            shape.push_back(size);
            at = static_cast<std::size_t>(stop - line.data());
        }
        tensors_[std::string(line.substr(0, space))] = std::move(shape);
    }

    std::map<std::string, std::vector<std::int64_t>> tensors_;
    std::map<std::string, std::string> metadata_;
    std::vector<WeightInfo> list_;
    std::string description_ = "model";
};

void check_whole(const Names& names, const Architecture& architecture) {
    const std::vector<std::string> unread = unread_tensors(names, architecture);
    expect(std::all_of(unread.begin(), unread.end(),
                       [&](const std::string& name) { return names.has(name); }),
           "what nothing reads is there");
    const bool whole = accepted([&] { require_whole(names, architecture, {true, true}); });
    if (!whole) return;
    for (const Manifest& part :
         {unet_manifest(names, architecture), text_encoder_manifest(names, architecture),
          latent_encoder_manifest(names, architecture),
          latent_decoder_manifest(names, architecture)}) {
        expect(!part.empty(), "a whole model has every part");
        for (const ExpectedTensor& tensor : part) {
            expect(names.has(tensor.name), "a whole model has every tensor");
        }
    }
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    const Names names(as_text(data, size));
    accepted([&] { check_whole(names, detect_architecture(names)); });
    return 0;
}
