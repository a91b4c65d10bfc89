// Threads that the kernels of a run share their work with.
//
// OpenMP's threads wait for the next parallel region by spinning, for many milliseconds where
// nobody has set GOMP_SPINCOUNT before the process began, and a region ends when the last of its
// threads has come. Beside another program both cost more than the work itself. Here a wait is a
// short spin and then sleep, and a region is over when its work is done: a thread that was not
// given a processor in the meantime is not waited for.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zoodip {

class WorkerPool {
  public:
    // threads: that work together, the caller's among them, 1 to max_threads; fewer where the
    // system gives no more. on_start is called once in each new one. Throws Error for other
    // numbers.
    static constexpr int max_threads = 2047;
    explicit WorkerPool(int threads, const std::function<void()>& on_start = {});
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Calls work() on this thread and on as many of the others as come while it lasts; all have
    // returned when this does. `work` takes what there is to do from a place that all share.
    // Within work(), it is called on this thread alone. Throws what work() threw first.
    template <class Work>
    void run(const Work& work) {
        run(Region{[](const void* of) { (*static_cast<const Work*>(of))(); }, &work});
    }

    // The pool of this thread: set while a UsedPool lives; nullptr without one.
    static WorkerPool* current();

  private:
    struct Region {
        void (*call)(const void*);
        const void* work;
    };

    void run(const Region& region);
    void serve();
    void perform() noexcept;
    void end() noexcept;

    std::vector<std::thread> workers_;
    // The lowest bits count the workers inside of a region; `open` lets more of them in; what is
    // above numbers the regions.
    std::atomic<std::uint32_t> gate_{0};
    std::atomic<std::uint32_t> left_{0};  // grows when the last worker leaves a closed region
    std::atomic<bool> ending_{false};
    bool running_ = false;
    std::chrono::steady_clock::time_point alone_until_{};
    Region region_{};
    std::mutex failing_;
    std::exception_ptr failure_;
};

// Makes a pool this thread's, and gives back the one before.
class UsedPool {
  public:
    explicit UsedPool(WorkerPool* pool);
    ~UsedPool();
    UsedPool(const UsedPool&) = delete;
    UsedPool& operator=(const UsedPool&) = delete;

  private:
    WorkerPool* before_;
};

}  // namespace zoodip
