// What ends the program from outside: Ctrl-C, SIGTERM, a terminal that is gone, a reader that is
// gone.
#pragma once

#include "core/cancel.h"

namespace zoodip {

// Set by the first of them, so that what was learned is kept. A second Ctrl-C ends the program at
// once.
const CancelToken& interruption();

// From here on signals set it. One that the parent had the program ignore, as nohup does with the
// terminal's end, stays ignored.
void watch_for_interruption();

// The exit status of a program that was stopped: 128 and the number of the signal, as shells have
// it. `otherwise` where there was none.
int exit_status(int otherwise);

}  // namespace zoodip
