#include "ops/torch_threads.h"

#include <ATen/Parallel.h>

#include "core/worker_pool.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace zoodip {
namespace {

// at::set_num_threads would be for threads that start later as well.
void set(int count) {
#ifdef _OPENMP
    if (at::get_num_threads() != count) omp_set_num_threads(count);
#else
    if (at::get_num_threads() != count) at::set_num_threads(count);
#endif
}

}  // namespace

TorchThreads::TorchThreads(int count) : before_(at::get_num_threads()) {
    set(count);
}

TorchThreads::~TorchThreads() {
    set(before_);
}

int threads_of_pool() {
    const WorkerPool* pool = WorkerPool::current();
    return pool == nullptr ? 1 : pool->threads();
}

void use_one_torch_thread() {
    set(1);
}

}  // namespace zoodip
