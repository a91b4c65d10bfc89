#include "ops/torch_threads.h"

#include <ATen/Parallel.h>

#include "core/worker_pool.h"

#ifdef _OPENMP
#include <omp.h>
#endif

// MKL, which is part of torch's library where torch was built with it, keeps a number of its own;
// 0 takes OpenMP's.
#if defined(__GNUC__) && !defined(_WIN32)
extern "C" int MKL_Set_Num_Threads_Local(int count) __attribute__((weak));
#endif

namespace zoodip {
namespace {

// Of this thread alone: at::set_num_threads would be for threads that start later as well.
void set(int count) {
    if (at::get_num_threads() == count) return;
#ifdef _OPENMP
    omp_set_num_threads(count);
#else
    at::set_num_threads(count);
#endif
}

// Returns the number before.
int set_mkl([[maybe_unused]] int count) {
#if defined(__GNUC__) && !defined(_WIN32)
    if (MKL_Set_Num_Threads_Local != nullptr) return MKL_Set_Num_Threads_Local(count);
#endif
    return 0;
}

}  // namespace

TorchThreads::TorchThreads(int count) : before_(at::get_num_threads()) {
    set(count);
    mkl_before_ = set_mkl(count);
}

TorchThreads::~TorchThreads() {
    set_mkl(mkl_before_);
    set(before_);
}

int threads_of_pool() {
    const WorkerPool* pool = WorkerPool::current();
    return pool == nullptr ? 1 : pool->threads();
}

void use_one_torch_thread() {
    set(1);
    set_mkl(1);
}

}  // namespace zoodip
