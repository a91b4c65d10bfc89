// What carries bytes between the processes of one run: torch's c10d behind the Python edge, threads
// of one process in tests.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace zoodip {

// Each rank makes the same calls in the same order, from one thread. A call waits for the others as
// long as `limit`, in seconds; then, or where one of them is gone, it throws Error that names who
// is missing, and the wire is of no more use.
class Wire {
  public:
    virtual ~Wire() = default;

    virtual int rank() const = 0;  // from 0
    virtual int size() const = 0;  // how many there are
    // How many of them are on this machine, and share its memory.
    virtual int local_size() const { return size(); }
    // As messages call a rank: "rank 1 of 2 (on node7)".
    virtual std::string name_of(int rank) const = 0;

    // What each rank gave, one behind another in the order of ranks: size() times mine.size()
    // bytes, as many on every rank.
    virtual std::string all_gather(std::string_view mine, double limit) = 0;
    // From one rank to one that waits for as many bytes from it.
    virtual void send(int to, std::string_view bytes, double limit) = 0;
    virtual std::string receive(int from, std::size_t count, double limit) = 0;
};

}  // namespace zoodip
