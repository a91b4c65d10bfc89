# Sanitizers and fuzzing instrumentation for every target of ours; the libraries that we link,
# torch among them, are not instrumented. A program that had a finding fails.
#
# ZOODIP_SANITIZE  as -fsanitize= takes it: "address,undefined", "thread"; empty for none
# ZOODIP_FUZZ      the programs of tests/fuzz become fuzzers (clang's libFuzzer)

if(ZOODIP_SANITIZE)
  add_compile_options("-fsanitize=${ZOODIP_SANITIZE}" -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options("-fsanitize=${ZOODIP_SANITIZE}")
  add_compile_definitions(_GLIBCXX_ASSERTIONS) # bounds of operator[] and the like
endif()

if(ZOODIP_FUZZ)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS -fsanitize=fuzzer)
  check_cxx_source_compiles(
    "extern \"C\" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }"
    ZOODIP_HAS_LIBFUZZER)
  unset(CMAKE_REQUIRED_FLAGS)
  if(NOT ZOODIP_HAS_LIBFUZZER)
    message(FATAL_ERROR "zoodip: ZOODIP_FUZZ needs clang 16 or newer with libFuzzer, and "
      "${CMAKE_CXX_COMPILER} has none.\n"
      "  Debian, Ubuntu: apt-get install clang-16 libclang-rt-16-dev, then configure a new build "
      "folder with -DCMAKE_CXX_COMPILER=clang++-16")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
