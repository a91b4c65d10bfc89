// What ThreadSanitizer is told, in the program that has all tests without torch.
#ifdef __SANITIZE_THREAD__

// Where the HTTP library is a shared one of the system's, it is not instrumented: a constant that
// the first of two threads makes there looks like a race, as the lock around it is not seen. What
// it calls of ours is watched as ever.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions() {
    return "called_from_lib:libcpp-httplib.so\n";
}

#endif
