// Names of threads, as debuggers and the system's own tools show them.
#pragma once

namespace zoodip {

// Names the calling thread, and those that it starts unless they name themselves; at most 15
// characters. Where the system has no such names, nothing happens.
void name_this_thread(const char* name);

}  // namespace zoodip
