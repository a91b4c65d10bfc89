// The processes that share one run, as c10d calls them: ranks, each with a number from 0.
//
// Whatever ranks tell one another, they tell it in frames of 128 bytes, which all of them send at
// the same time. A frame says whether its sender goes on, was stopped or has failed; so the news of
// it reaches all at the same place of the run. What does not fit into the frames follows behind.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ranks/wire.h"

#include "core/cancel.h"
#include "core/error.h"
#include "ops/plain_message.h"

namespace zoodip {

// What all ranks must have alike: its name in messages, and its value or digest.
using Facts = std::vector<std::pair<std::string, std::string>>;

class Ranks {
  public:
    // What is being told. Two ranks that are at different places of the run are found out by it.
    enum class Call : std::uint32_t { share, compare, step, end };
    enum class Departure : std::uint32_t { stopped = 1, failed = 2 };

    static constexpr std::size_t frame = 128;  // bytes

    // limit: seconds to wait for another rank while steps are made; 0 takes a minute and a hundred
    // times the longest step, what rank 0 does for files and previews included. Until the first one
    // has been timed it is half an hour: machines differ in how fast they load.
    Ranks(std::shared_ptr<Wire> wire, double limit);

    int rank() const { return wire_->rank(); }
    int size() const { return wire_->size(); }
    int local_size() const { return wire_->local_size(); }
    bool is_first() const { return rank() == 0; }

    // What each rank tells, in the order of ranks. state: of what all should hold alike by now.
    // Throws Cancelled where one of them was stopped, and Error that names the rank where one has
    // failed, is gone, has not come in time, or holds another state.
    std::vector<std::string> gather(Call call, std::string_view mine, std::uint64_t state = 0);

    // Rank 0's bytes, on every rank; passed on from each to the next. Throws as gather does.
    std::string share(std::string_view of_first);

    // Throws Error, on every rank, that names the first rank which differs from rank 0, and in
    // what.
    void compare(const Facts& mine);

    void send(int to, std::string_view bytes);
    std::string receive(int from, std::size_t count);

    // In place of the next gather: the others learn there why this rank goes no further. Throws
    // Error where another one has failed or is gone.
    void leave(Departure why, std::string_view message = {});
    // What `work` gives. Where it is stopped or fails, the others are told, and it is thrown on.
    template <class Work>
    auto telling(const Work& work) {
        try {
            return work();
        } catch (const Cancelled&) {
            leave(Departure::stopped);
            throw;
        } catch (const std::exception& error) {
            try {
                leave(Departure::failed, plain_message(error));
            } catch (const Error&) {
                // Its own failure is what there is to say.
            }
            throw;
        }
    }
    // Whether there is nobody to tell any more.
    bool over() const { return over_; }

    // That this rank has sent and received since its first step began, without what the network
    // puts around them.
    std::int64_t bytes_of_steps() const { return bytes_; }

  private:
    struct Frame;

    double limit() const;
    void time_step();
    std::vector<Frame> exchange(std::uint32_t status, Call call, std::string_view mine,
                                std::uint64_t state);
    void judge(const std::vector<Frame>& frames, std::uint32_t own) const;
    template <class Transfer>
    auto on_wire(std::int64_t bytes, const Transfer& transfer);

    std::shared_ptr<Wire> wire_;
    double limit_;
    double longest_step_ = 0;  // seconds
    std::chrono::steady_clock::time_point last_step_{};
    bool stepping_ = false, timed_ = false;
    bool over_ = false;
    std::int64_t bytes_ = 0;
};

// A state's digest for gather: quick, and no defence against anybody.
std::uint64_t quick_digest(std::string_view bytes);

}  // namespace zoodip
