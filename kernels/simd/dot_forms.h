// Whether an instruction set's dot products want rows of bytes prepared.
#ifndef TIERCAST_SIMD_DOT_FORMS_H_
#define TIERCAST_SIMD_DOT_FORMS_H_

#include "simd/kernel_row.h"

enum { DOT_NEVER, DOT_ALWAYS, DOT_WHERE_IT_PAYS };

#endif
