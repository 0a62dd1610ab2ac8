// The machine's own limit, to compare kernels with.
#pragma once

namespace tiercast {

// GFLOP/s of one thread in fused multiply-adds from registers, on the widest f32 vectors of this CPU; takes about 0.1 s.
double peak_gflops();

}  // namespace tiercast
