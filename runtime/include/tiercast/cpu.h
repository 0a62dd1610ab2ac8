// What this CPU can do, found at run time.
#ifndef TIERCAST_CPU_H_
#define TIERCAST_CPU_H_

#include <stdint.h>

#include "tiercast/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TC_CPU_FEATURE_COUNT = 8 };

// The tc_cpu_feature bits that this CPU has and this operating system saves across context switches. TC_CPU_OOO: some core that the
// calling thread may run on is out of order; where cores don't tell their model, that they have dot products. Thread-safe; no state.
TC_API uint64_t tc_cpu_features(void);

// The name of bit `index` (0 .. TC_CPU_FEATURE_COUNT-1) as kernels.toml writes it, e.g. "avx2"; NULL when out of range. Static text.
TC_API const char* tc_cpu_feature_name(int32_t index);

// Parses a comma-separated list of names ("neon,dotprod"), or "none" for the empty set, into *features.
// Returns 1, or 0 and leaves *features alone when a name is unknown.
TC_API int32_t tc_cpu_features_parse(const char* names, uint64_t* features);

#ifdef __cplusplus
}
#endif
#endif
