// An API over jobs whose trainings a test controls.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fake_runner.h"

#include "core/json.h"
#include "io/picture.h"
#include "server/api.h"

namespace zoodip {

inline std::string submission(const std::string& word) {
    return nlohmann::json{
        {"model", "m.safetensors"}, {"images", "dog"}, {"word", word}, {"init", "dog"}}
        .dump();
}

// A picture that can be learned from, of more bytes behind its end than it needs.
inline std::string sent_picture(std::size_t spare = 0) {
    const std::vector<std::byte> bytes =
        encode_png({8, 8, std::vector<std::uint8_t>(std::size_t{3} * 8 * 8, 99)});
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) +
           std::string(spare, 'x');
}

// Roots with a model and a folder of pictures.
class ApiFolder : public TemporaryFolder {
  public:
    ApiFolder() {
        write_model(*this / "models/m.safetensors");
        write_text(*this / "images/dog/1.png", "1");
    }
};

class ApiFixture : public ::testing::Test {
  protected:
    // Lets a job end, and waits for it.
    Job finish(const std::string& id) {
        runner->let(jobs.find(id)->request.word);
        return ended(jobs, id);
    }

    ApiFolder root;
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();
    Jobs jobs{root / "jobs", runner, {.queued = 2}};
    Roots roots{{root / "models"}, {root / "images"}};
};

}  // namespace zoodip
