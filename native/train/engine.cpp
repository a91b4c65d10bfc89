#include "train/engine.h"

#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "core/forked.h"
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
             "Use --device cpu, or install a CUDA build of torch and run install.py again");
    }
#endif
}

// Throws Error unless so many threads can be there at once.
void try_threads(int count) {
    std::mutex waiting;
    std::vector<std::thread> threads;
    {
        const std::lock_guard all_wait(waiting);
        try {
            while (static_cast<int>(threads.size()) < count) {
                threads.emplace_back([&waiting] { const std::lock_guard ended(waiting); });
            }
        } catch (const std::exception&) {
            // Told by their number.
        }
    }
    for (std::thread& thread : threads) thread.join();
    const int got = static_cast<int>(threads.size());
    require(got == count, "threads: the system gives this process ", got + 1, " of the ", count + 1,
            " threads that it would use: for want of memory, or by a limit on processes. Use ",
            "--threads ", got + 1, " or fewer");
}

}  // namespace

ThreadCount::ThreadCount(std::int64_t count) : before_(at::get_num_threads()) {
    if (forked_from_threads()) count = 1;
    if (count <= 0) return;
    const int wanted = static_cast<int>(count);
    // Torch makes a pool of so many at once, and waits for ever for those that it did not get.
    if (wanted > before_) try_threads(wanted - 1);
    at::set_num_threads(wanted);
}

ThreadCount::~ThreadCount() {
    if (at::get_num_threads() != before_) at::set_num_threads(before_);
}

void start_threads() {
    thread_local int started = 1;
    const int count = at::get_num_threads();
    if (count <= started) return;
    try_threads(count - 1);
    // A heap that keeps something for each thread makes it while there is memory.
    at::parallel_for(0, count, 1,
                     [](std::int64_t, std::int64_t) { std::vector<std::string>(1, "").clear(); });
    started = count;
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
            "device cuda: torch finds no NVIDIA GPU or driver. Use --device cpu");
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

Prediction choose_prediction(const std::string& name, const Architecture& architecture) {
    if (name == "epsilon") return Prediction::epsilon;
    if (name == "v") return Prediction::v;
    return architecture.prediction;
}

void require_size(const WeightSource& source, std::int64_t height, std::int64_t width) {
    const std::int64_t multiple = std::int64_t{8} << count_downsamples(source);
    require(height > 0 && width > 0 && height % multiple == 0 && width % multiple == 0,
            "size: this model needs sides that are multiples of ", multiple, ", got ", width, " x ",
            height);
}

}  // namespace zoodip
