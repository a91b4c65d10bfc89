// A thread for each connection, made when there is none to spare.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <httplib.h>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace zoodip {

// An event stream holds its thread for hours, so that a pool of a fixed small size would be full of
// them. Threads that are made stay until the end.
class ConnectionThreads : public httplib::TaskQueue {
  public:
    // places: how many connections are served at a time; a few threads more say so to the others.
    explicit ConnectionThreads(std::size_t places) : places_(places), most_(places + 8) {}

    // Whether the connection of this thread came when every place was taken. Decided in the order
    // in which connections are accepted, which that of the threads need not be.
    static bool is_beyond() { return beyond_; }

    // What the library's versions return from enqueue: nothing, or whether it was taken.
    using Taken = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));
    Taken enqueue(std::function<void()> task) override;
    void shutdown() override;

  private:
    void work();

    struct Task {
        std::function<void()> work;
        bool beyond;
    };

    static thread_local bool beyond_;

    const std::size_t places_, most_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Task> tasks_;
    std::vector<std::thread> threads_;
    std::size_t idle_ = 0, taken_ = 0;
    bool ending_ = false;
};

}  // namespace zoodip
