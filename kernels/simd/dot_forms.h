// How rows of bytes stand for an instruction set's dot products.
#ifndef TIERCAST_SIMD_DOT_FORMS_H_
#define TIERCAST_SIMD_DOT_FORMS_H_

#include "simd/kernel_row.h"

// As they are; prepared, in groups of rows; spread, each quad four times, pixel by pixel. What of it there is, simd/dot_<isa>.h says.
enum { DOT_PLAIN, DOT_PREPARED, DOT_SPREAD };
enum { DOT_NEVER, DOT_ALWAYS, DOT_WHERE_IT_PAYS };

#endif
