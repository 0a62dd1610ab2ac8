#include "peak.h"

#include <chrono>
#include <cstdint>

#include "tiercast/cpu.h"

namespace {

// Enough independent chains to hide the latency of FMA on every core known, few enough for 16 registers.
constexpr int kChains = 12;
constexpr int64_t kRounds = 200000;

#if defined(__x86_64__)
#define TARGET(features) __attribute__((target(features)))
#else
#define TARGET(features)
#endif

#define DEFINE_CHAINS(NAME, FEATURES, BYTES)                                                     \
  TARGET(FEATURES) float NAME(float factor, float addend) {                                      \
    typedef float Vector __attribute__((vector_size(BYTES)));                                    \
    const Vector a = Vector{} + factor, b = Vector{} + addend;                                   \
    Vector x[kChains];                                                                           \
    _Pragma("GCC unroll 12") for (int i = 0; i < kChains; ++i) x[i] = b * static_cast<float>(i); \
    for (int64_t round = 0; round < kRounds; ++round) {                                          \
      _Pragma("GCC unroll 12") for (int i = 0; i < kChains; ++i) x[i] = x[i] * a + b;            \
    }                                                                                            \
    Vector sum = {};                                                                             \
    _Pragma("GCC unroll 12") for (int i = 0; i < kChains; ++i) sum += x[i];                      \
    return sum[0];                                                                               \
  }

#if defined(__x86_64__)
DEFINE_CHAINS(chains_avx512, "avx512f,fma", 64)
DEFINE_CHAINS(chains_avx2, "avx2,fma", 32)
#endif
DEFINE_CHAINS(chains_128, "sse2", 16)

struct Chains {
  float (*run)(float, float);
  int lanes;
};

Chains widest() {
#if defined(__x86_64__)
  const uint64_t features = tc_cpu_features();
  if ((features & TC_CPU_AVX512) != 0) return {chains_avx512, 16};
  if ((features & TC_CPU_AVX2) != 0) return {chains_avx2, 8};
#endif
  return {chains_128, 4};
}

}  // namespace

double tiercast::peak_gflops() {
  const Chains chains = widest();
  volatile float factor = 0.999f, addend = 0.001f, sink = 0;
  double best = 0;
  for (int i = 0; i < 20; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    sink = sink + chains.run(factor, addend);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    const double rate = 2.0 * kChains * kRounds * chains.lanes / seconds.count() * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}
