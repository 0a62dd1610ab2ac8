// CPU feature names, and detection that fits what the compiler was told this machine has.
#include "tiercast/cpu.h"

#include <stdio.h>
#include <stdlib.h>

#include <initializer_list>

#include "check.h"

int main() {
  uint64_t features = 7;
  CHECK(tc_cpu_features_parse("neon,dotprod", &features) == 1 && features == (TC_CPU_NEON | TC_CPU_DOTPROD));
  CHECK(tc_cpu_features_parse("none", &features) == 1 && features == 0);
  for (const char* wrong : {"", "neon,", ",neon", "Neon", "avx", "avx2x", "none,neon"}) {
    features = 7;
    CHECK(tc_cpu_features_parse(wrong, &features) == 0 && features == 7);
  }
  for (int32_t i = 0; i < TC_CPU_FEATURE_COUNT; ++i) {
    CHECK(tc_cpu_features_parse(tc_cpu_feature_name(i), &features) == 1);
    CHECK(features == uint64_t{1} << i);
  }
  CHECK(tc_cpu_feature_name(-1) == nullptr && tc_cpu_feature_name(TC_CPU_FEATURE_COUNT) == nullptr);
#ifdef __aarch64__
  CHECK((tc_cpu_features() & TC_CPU_NEON) != 0);
#endif
  // What the emulator or the test's caller says this CPU is, e.g. neon,fp16,dotprod.
  const char* expected = getenv("TIERCAST_EXPECTED_FEATURES");
  if (expected != nullptr) {
    CHECK(tc_cpu_features_parse(expected, &features) == 1);
    CHECK(tc_cpu_features() == features);
  }
  for (int32_t i = 0; i < TC_CPU_FEATURE_COUNT; ++i)
    if ((tc_cpu_features() >> i) & 1) printf("%s ", tc_cpu_feature_name(i));
  printf("\n");
  return test_result();
}
