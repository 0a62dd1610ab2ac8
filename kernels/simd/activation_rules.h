// The rules on activations for check functions, which include no ISA.
#ifndef TIERCAST_SIMD_ACTIVATION_RULES_H_
#define TIERCAST_SIMD_ACTIVATION_RULES_H_

#include "tc_enums.h"

namespace {

// Is this number an activation (and, for prelu, is there a slope)?
inline bool valid_activation(int activation, bool has_slope) {
  return activation >= TC_ACTIVATION_NONE && activation <= TC_ACTIVATION_SOFTPLUS && (activation != TC_ACTIVATION_PRELU || has_slope);
}

}  // namespace

#endif
