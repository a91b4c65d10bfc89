// The end of memory where no exception can be caught.
#pragma once

namespace zoodip {

// From here on the program ends with one sentence and status 1 where memory ends inside a library's
// own threads: an exception cannot leave those, and a heap that cannot set up a thread's part of
// itself does not even throw.
void watch_for_want_of_memory();

}  // namespace zoodip
