#include "core/thread_name.h"

#ifdef __linux__
#include <pthread.h>
#endif

namespace zoodip {

void name_this_thread(const char* name) {
#ifdef __linux__
    pthread_setname_np(pthread_self(), name);
#else
    (void)name;
#endif
}

}  // namespace zoodip
