// What every use of a model does first: threads, device, prediction target.
#pragma once

#include <cstdint>
#include <string>

#include <c10/core/Device.h>

#include "nn/family.h"
#include "nn/loader.h"

namespace zoodip {

// Torch's intra-op threads while it lives, for count > 0; the process's own count comes back after,
// so that a host's other work is not slowed. In a process that was forked from one with threads it
// is one thread, whatever the count.
class ThreadCount {
  public:
    explicit ThreadCount(std::int64_t count);
    ~ThreadCount();
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;

  private:
    int before_;
};

// Starts this thread's helpers now. Throws Error when the system does not give so many: OpenMP
// would end the process.
void start_threads();

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

// "auto" follows the model.
Prediction choose_prediction(const std::string& name, const Architecture& architecture);

// Throws Error unless height and width suit the UNet: multiples of 8 * 2^downsamples.
void require_size(const WeightSource& source, std::int64_t height, std::int64_t width);

}  // namespace zoodip
