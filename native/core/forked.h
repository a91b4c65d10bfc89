// Processes that were made by fork().
#pragma once

namespace zoodip {

// Whether this process was forked from one that had threads. They are not in it, but the libraries
// that started them believe that they are: OpenMP's next parallel region would wait for them for
// ever. What uses one thread alone still works.
bool forked_from_threads() noexcept;

}  // namespace zoodip
