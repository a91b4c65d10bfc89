// How many threads torch's own operators take.
#pragma once

namespace zoodip {

// In this thread, while it lives; what the process has otherwise is left alone. The kernels of ops/
// share their work by core/worker_pool.h; torch's operators between them stay on one thread,
// because OpenMP's others would go on spinning beside those kernels when an operator has ended.
class TorchThreads {
  public:
    explicit TorchThreads(int count);
    ~TorchThreads();
    TorchThreads(const TorchThreads&) = delete;
    TorchThreads& operator=(const TorchThreads&) = delete;

  private:
    int before_, mkl_before_;
};

// As many as the pool of this thread has, for an operator that does the work of a kernel.
int threads_of_pool();

// One, for good: what each thread of a pool begins with.
void use_one_torch_thread();

}  // namespace zoodip
