// What check and rows of pool2d share.
#ifndef TIERCAST_POOL2D_POOL2D_H_
#define TIERCAST_POOL2D_POOL2D_H_

#include "pool2d/window.h"
#include "pool2d_params.h"

#endif
