// What every use of a model does first: threads, device, sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <c10/core/Device.h>

#include "core/worker_pool.h"
#include "nn/loader.h"
#include "ops/torch_threads.h"

namespace zoodip {

// The threads of this thread's work while it lives: `count`, or for 0 as many as torch has, unless
// there are some already. They are its own (core/worker_pool.h), and torch's operators take one
// each, which is given back after: a host's other work goes on as it was. Throws Error when the
// system does not give `count`; for 0 what it gives is taken, with a warning. In a process that was
// forked from one with threads it is one thread, whatever the count.
class ThreadCount {
  public:
    explicit ThreadCount(std::int64_t count);

  private:
    int torch_;  // threads of torch outside
    std::optional<WorkerPool> pool_;
    std::optional<UsedPool> used_;
    TorchThreads one_;
};

// Convolutions of float32 in float32 on a graphics card while it lives. Torch rounds their inputs
// to TF32 (10 bits) by default, in which the differences between the losses of one step drown. The
// process's own setting comes back after.
class ExactProducts {
  public:
    explicit ExactProducts(at::Device device);
    ~ExactProducts();
    ExactProducts(const ExactProducts&) = delete;
    ExactProducts& operator=(const ExactProducts&) = delete;

  private:
    bool active_;
    bool before_ = false;
};

// "cpu" or "cuda". For cuda, loads torch's CUDA library where the program was linked to the CPU one
// only. Throws Error that says why there is no such device.
at::Device open_device(const std::string& name);

// Bytes that can still be taken on a device; 0 where that is not known.
std::int64_t free_memory(at::Device device);

// Throws Error unless height and width suit the UNet: multiples of 8 * 2^downsamples.
void require_size(const WeightSource& source, std::int64_t height, std::int64_t width);

}  // namespace zoodip
