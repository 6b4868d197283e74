// SAE_MULTIVERSION: one binary serves every x86-64 CPU, the loader picks the widest version of a
// function that the CPU runs.
#pragma once

// Sanitizers instrument code that runs before they are ready in such resolvers, so not under them.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define SAE_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAE_MULTIVERSION
#endif
#define SAE_INLINE inline __attribute__((always_inline))
