// Instruction sets chosen at run time: the function is compiled for each, and the loader picks the
// best that the processor has. Elsewhere than GCC on Linux x86-64 it is compiled once.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && defined(__linux__) && defined(__x86_64__)
#define ZOODIP_MULTIVERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ZOODIP_MULTIVERSION
#endif
