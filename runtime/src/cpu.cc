#include "tiercast/cpu.h"

#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif (defined(__aarch64__) || defined(__arm__)) && defined(__linux__)
#include <sys/auxv.h>

#include "cores.h"
#endif

namespace {

constexpr const char* kNames[TC_CPU_FEATURE_COUNT] = {"avx2", "avx512", "vnni", "neon", "fp16", "dotprod", "i8mm", "ooo"};

constexpr bool has(uint64_t word, int bit) { return ((word >> bit) & 1) != 0; }

#if defined(__x86_64__) || defined(__i386__)

// Which register files the operating system saves (XCR0); 0 when it saves none beyond SSE.
uint64_t saved_state(uint32_t leaf1_ecx) {
  if (!has(leaf1_ecx, 27)) return 0;  // OSXSAVE
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

uint64_t detect() {
  uint32_t a = 0, b1 = 0, c1 = 0, d1 = 0, b7 = 0, c7 = 0, d7 = 0;
  if (__get_cpuid(1, &a, &b1, &c1, &d1) == 0) return 0;
  if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) == 0) return 0;
  const uint64_t state = saved_state(c1);
  const bool ymm = (state & 0x06) == 0x06;
  const bool zmm = (state & 0xe6) == 0xe6;
  uint64_t features = 0;
  if (ymm && has(b7, 5) && has(c1, 12) && has(c1, 29)) features |= TC_CPU_AVX2;                    // AVX2, FMA, F16C
  if (zmm && has(b7, 16) && has(b7, 17) && has(b7, 30) && has(b7, 31)) features |= TC_CPU_AVX512;  // F, DQ, BW, VL
  if ((features & TC_CPU_AVX512) != 0 && has(c7, 11)) features |= TC_CPU_VNNI;
  return features;
}

#elif defined(__aarch64__) && defined(__linux__)

// Whether some usable core is out of order. Linux shows every core's MIDR, or lets a thread read that of the core it is on; where it does
// neither, dot products came with the first big cores that have them (and with A55).
bool out_of_order(uint64_t hwcap) {
  const tiercast::Order order = tiercast::read_order(tiercast::kCoresFolder);
  if (order != tiercast::Order::unknown) return order != tiercast::Order::in_order;
  if (!has(hwcap, 11)) return has(hwcap, 20);  // CPUID, ASIMDDP
  uint64_t midr = 0;
  __asm__("mrs %0, midr_el1" : "=r"(midr));
  return !tiercast::is_in_order(midr);
}

uint64_t detect() {
  const uint64_t hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
  uint64_t features = 0;
  if (has(hwcap, 1)) features |= TC_CPU_NEON;                    // ASIMD
  if (has(hwcap, 9) && has(hwcap, 10)) features |= TC_CPU_FP16;  // FPHP, ASIMDHP
  if (has(hwcap, 20)) features |= TC_CPU_DOTPROD;                // ASIMDDP
  if (has(hwcap2, 13)) features |= TC_CPU_I8MM;                  // I8MM
  if (out_of_order(hwcap)) features |= TC_CPU_OOO;
  return features;
}

#elif defined(__arm__) && defined(__linux__)

uint64_t detect() {
  const uint64_t hwcap = getauxval(AT_HWCAP);
  return has(hwcap, 12) && has(hwcap, 16) ? TC_CPU_NEON : 0;  // NEON, VFPv4
}

#else

uint64_t detect() { return 0; }

#endif

// The bit of the name text[0, length), or 0.
uint64_t feature_bit(const char* text, size_t length) {
  for (int i = 0; i < TC_CPU_FEATURE_COUNT; ++i)
    if (strlen(kNames[i]) == length && memcmp(kNames[i], text, length) == 0) return uint64_t{1} << i;
  return 0;
}

}  // namespace

uint64_t tc_cpu_features(void) { return detect(); }

const char* tc_cpu_feature_name(int32_t index) { return index >= 0 && index < TC_CPU_FEATURE_COUNT ? kNames[index] : nullptr; }

int32_t tc_cpu_features_parse(const char* names, uint64_t* features) {
  uint64_t parsed = 0;
  if (strcmp(names, "none") != 0) {
    for (const char* at = names;; ++at) {
      const size_t length = strcspn(at, ",");
      const uint64_t bit = feature_bit(at, length);
      if (bit == 0) return 0;
      parsed |= bit;
      at += length;
      if (*at == 0) break;
    }
  }
  *features = parsed;
  return 1;
}
