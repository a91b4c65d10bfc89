// Ranks that are threads of one process: what c10d does between processes, by a mutex.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "ranks/ranks.h"

#include "core/error.h"

namespace zoodip {

class ThreadRanks {
  public:
    explicit ThreadRanks(int size) : size_(size) {}

    // Runs `work` once as each rank, to its end; gives what each threw, null where nothing.
    std::vector<std::exception_ptr> run(const std::function<void(Ranks&)>& work) {
        std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size_));
        std::vector<std::thread> threads;
        for (int rank = 0; rank < size_; ++rank) {
            threads.emplace_back([&, rank] {
                Ranks ranks(std::make_shared<End>(*this, rank), 30);
                try {
                    work(ranks);
                } catch (...) {
                    thrown[static_cast<std::size_t>(rank)] = std::current_exception();
                }
                // Of one that has ended nothing more comes.
                const std::lock_guard lock(mutex_);
                ended_.insert(rank);
                told_.notify_all();
            });
        }
        for (std::thread& thread : threads) thread.join();
        return thrown;
    }

  private:
    class End : public Wire {
      public:
        End(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
        int rank() const override { return rank_; }
        int size() const override { return all_.size_; }
        std::string name_of(int rank) const override {
            return concat("rank ", rank, " of ", all_.size_);
        }
        std::string all_gather(std::string_view mine, double) override {
            const int round = round_++;
            std::unique_lock lock(all_.mutex_);
            all_.gathered_[round][rank_] = mine;
            all_.told_.notify_all();
            const auto& all = all_.gathered_[round];
            for (int other = 0; other < all_.size_; ++other) {
                wait(lock, other, [&] { return all.count(other) > 0; });
            }
            std::string every;
            for (const auto& [rank, one] : all) every += one;
            return every;
        }
        void send(int to, std::string_view bytes, double) override {
            const std::lock_guard lock(all_.mutex_);
            all_.sent_[{rank_, to}].emplace_back(bytes);
            all_.told_.notify_all();
        }
        std::string receive(int from, std::size_t count, double) override {
            std::unique_lock lock(all_.mutex_);
            auto& waiting = all_.sent_[{from, rank_}];
            wait(lock, from, [&] { return !waiting.empty(); });
            std::string bytes = waiting.front();
            waiting.erase(waiting.begin());
            require(bytes.size() == count, "test: needs ", count, " bytes, got ", bytes.size());
            return bytes;
        }

      private:
        template <class Done>
        void wait(std::unique_lock<std::mutex>& lock, int other, const Done& done) {
            all_.told_.wait(lock, [&] { return done() || all_.ended_.count(other) > 0; });
            require(done(), "another rank is gone");
        }

        ThreadRanks& all_;
        int rank_, round_ = 0;
    };

    int size_;
    std::set<int> ended_;
    std::mutex mutex_;
    std::condition_variable told_;
    std::map<int, std::map<int, std::string>> gathered_;
    std::map<std::pair<int, int>, std::vector<std::string>> sent_;
};

}  // namespace zoodip
