// The kernels of every test share their work among a pool's threads, as in a run.
#include <algorithm>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include "core/worker_pool.h"

namespace zoodip {
namespace {

class PoolOfTests : public testing::Environment {
  public:
    void SetUp() override {
        const auto cores = static_cast<int>(std::thread::hardware_concurrency());
        pool_ = std::make_unique<WorkerPool>(std::clamp(cores, 2, 8));
        used_ = std::make_unique<UsedPool>(pool_.get());
    }
    void TearDown() override {
        used_.reset();
        pool_.reset();
    }

  private:
    std::unique_ptr<WorkerPool> pool_;
    std::unique_ptr<UsedPool> used_;
};

[[maybe_unused]] const auto* const environment =
    testing::AddGlobalTestEnvironment(std::make_unique<PoolOfTests>().release());

}  // namespace
}  // namespace zoodip
