// Memory of the process and of the machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace zoodip {

// Gives freed heap memory back to the system, where the C library can (glibc's malloc_trim). The
// unpacked weights of a large model pass through the heap one by one, and what is kept of them lies
// between: without this the process keeps up to as much again. Takes milliseconds. Any thread.
void give_back_memory() noexcept;

// Zeroed memory in pages of its own, for what is large and stays: it neither cuts the heap into
// pieces nor holds any of it back. Pages of 2 MB where the system has some: fewer faults when it is
// written, fewer misses when it is read. Throws Error when there is not so much.
std::shared_ptr<void> allocate_pages(std::size_t size);

// Bytes that a process can still take without swapping: what Linux counts as available, within the
// limits of its control group (a container's). 0 where that is not known.
std::int64_t available_memory();

}  // namespace zoodip
