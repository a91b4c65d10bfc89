#include "core/memory.h"

#include <cstdlib>  // defines __GLIBC__ where it is so

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace zoodip {

void give_back_memory() noexcept {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

}  // namespace zoodip
