// Memory of the process and of the machine.
#pragma once

#include <cstdint>

namespace zoodip {

// Gives freed heap memory back to the system, where the C library can (glibc's malloc_trim). The
// unpacked weights of a large model pass through the heap one by one, and what is kept of them lies
// between: without this the process keeps up to as much again. Takes milliseconds. Any thread.
void give_back_memory() noexcept;

// Bytes that a process can still take without swapping: what Linux counts as available, within the
// limits of its control group (a container's). 0 where that is not known.
std::int64_t available_memory();

}  // namespace zoodip
