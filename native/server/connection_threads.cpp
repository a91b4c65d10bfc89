#include "server/connection_threads.h"

#include <system_error>

#include "core/log.h"
#include "core/thread_name.h"

namespace zoodip {

thread_local bool ConnectionThreads::beyond_ = false;

ConnectionThreads::Taken ConnectionThreads::enqueue(std::function<void()> task) {
    const std::lock_guard lock(mutex_);
    const bool beyond = taken_ >= places_;
    if (!beyond) ++taken_;
    tasks_.push_back({std::move(task), beyond});
    if (tasks_.size() > idle_ && threads_.size() < most_) {
        try {
            threads_.emplace_back([this] { work(); });
        } catch (const std::system_error& error) {  // it waits for one that gets free
            log_warning("server: no further thread can be made: ", error.what());
        }
    }
    changed_.notify_one();
    return Taken(true);
}

void ConnectionThreads::work() {
    name_this_thread("zoodip-http");
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        changed_.wait(lock, [&] { return ending_ || !tasks_.empty(); });
        --idle_;
        if (tasks_.empty()) return;
        const Task task = std::move(tasks_.front());
        tasks_.pop_front();
        lock.unlock();
        beyond_ = task.beyond;
        task.work();
        lock.lock();
        if (!task.beyond) --taken_;
    }
}

void ConnectionThreads::shutdown() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
        changed_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
}

}  // namespace zoodip
