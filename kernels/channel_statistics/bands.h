// The statistics of an image: bands of pixels, as whoever takes them and whoever normalises by them see it.
#ifndef TIERCAST_CHANNEL_STATISTICS_BANDS_H_
#define TIERCAST_CHANNEL_STATISTICS_BANDS_H_

#include "views/rules.h"

namespace {

// Whether `bands` [N, bands, 3, C] fits the image [N, H, W, C].
inline bool is_bands(const tc_view& bands, const tc_view& image) {
  return is(bands, TC_F32, 4) && pitched(bands) && bands.dims[0] == image.dims[0] && bands.dims[2] == 3 && bands.dims[3] == image.dims[3] &&
         bands.dims[1] <= image.dims[1] * image.dims[2];
}

// Count, mean and distance rows of a band, strides[2] floats apart.
inline float* band_at(const tc_view& bands, int64_t image, int64_t index) {
  return static_cast<float*>(bands.data) + image * bands.strides[0] + index * bands.strides[1];
}

// First pixel of a band.
inline int64_t band_begin(int64_t pixels, int64_t bands, int64_t index) { return pixels * index / bands; }

}  // namespace

#endif
