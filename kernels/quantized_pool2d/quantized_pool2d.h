// What check and rows of quantized_pool2d share.
#ifndef TIERCAST_QUANTIZED_POOL2D_H_
#define TIERCAST_QUANTIZED_POOL2D_H_

#include "pool2d/window.h"
#include "quantized_pool2d_params.h"
#include "simd/requantize.h"

#endif
