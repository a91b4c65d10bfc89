#include "objective/engine.h"

#include <algorithm>
#include <string>

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "core/forked.h"
#include "core/log.h"
#include "core/memory.h"
#include "nn/unet.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <torch/version.h>
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 11
#include <c10/core/CachingDeviceAllocator.h>
#define ZOODIP_ALLOCATOR_TELLS_FREE_MEMORY
#endif

namespace zoodip {
namespace {

// The program links torch's CPU library alone, which takes a third of the memory. CUDA registers
// itself when its library is loaded; inside Python that has happened already, and this finds it.
// Nothing may ask torch about CUDA before: it keeps its first answer.
void load_cuda_library() {
#ifndef _WIN32
    if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
        fail("device cuda: this torch was built without CUDA (libtorch_cuda.so is not there). ",
             "Use `device cpu`, or install a CUDA build of torch and run install.py again");
    }
#endif
}

// How many there are to be; 0 where there are some already.
int wanted(std::int64_t count, int of_torch) {
    if (count <= 0 && WorkerPool::current() != nullptr) return 0;
    if (forked_from_threads()) return 1;
    return count > 0 ? static_cast<int>(count) : std::min(of_torch, WorkerPool::max_threads);
}

void require_threads(const WorkerPool& pool, int wanted, bool chosen) {
    if (pool.threads() == wanted) return;
    const std::string given =
        concat("threads: the system gives this process ", pool.threads(), " of the ", wanted,
               " threads that it would use: for want of ", "memory, or by a limit on processes");
    require(!chosen, given, ". Use `threads ", pool.threads(), "` or fewer");
    log_warning(given, "; the work goes on with those");
}

}  // namespace

ThreadCount::ThreadCount(std::int64_t count) : torch_(at::get_num_threads()), one_(1) {
    const int threads = wanted(count, torch_);
    if (threads == 0) return;
    pool_.emplace(threads, use_one_torch_thread);
    require_threads(*pool_, threads, count > 0);
    used_.emplace(&*pool_);
}

ExactProducts::ExactProducts(at::Device device) : active_(device.is_cuda()) {
    if (!active_) return;
    before_ = at::globalContext().allowTF32CuDNN();
    at::globalContext().setAllowTF32CuDNN(false);
}

ExactProducts::~ExactProducts() {
    if (active_ && before_) at::globalContext().setAllowTF32CuDNN(true);
}

at::Device open_device(const std::string& name) {
    if (name == "cpu") return at::kCPU;
    require(name == "cuda", "device: needs cpu or cuda, got '", name, "'");
    load_cuda_library();
    require(at::globalContext().hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0,
            "device cuda: torch finds no NVIDIA GPU or driver. Use `device cpu`");
    return at::Device(at::kCUDA, 0);
}

std::int64_t free_memory(at::Device device) {
    if (device.is_cpu()) return available_memory();
#ifdef ZOODIP_ALLOCATOR_TELLS_FREE_MEMORY
    return static_cast<std::int64_t>(
        c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
#else
    return 0;
#endif
}

void require_size(const WeightSource& source, std::int64_t height, std::int64_t width) {
    const std::int64_t multiple = std::int64_t{8} << count_downsamples(source);
    require(height > 0 && width > 0 && height % multiple == 0 && width % multiple == 0,
            "size: this model needs sides that are multiples of ", multiple, ", got ", width, " x ",
            height);
}

}  // namespace zoodip
