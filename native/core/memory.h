// Memory that was freed and is still held by the process.
#pragma once

namespace zoodip {

// Gives freed heap memory back to the system, where the C library can (glibc's malloc_trim). The
// unpacked weights of a large model pass through the heap one by one, and what is kept of them lies
// between: without this the process keeps up to as much again. Takes milliseconds. Any thread.
void give_back_memory() noexcept;

}  // namespace zoodip
