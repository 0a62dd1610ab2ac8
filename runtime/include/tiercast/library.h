// The kernel library that `tiercast.codegen` renders.
#ifndef TIERCAST_LIBRARY_H_
#define TIERCAST_LIBRARY_H_

#include "tiercast/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

// Every kernel of the target this was built for, rows of one op in order of merit. Static data: valid for ever, shared by all threads.
TC_API const tc_library* tc_library_full(void);

// What an extra kernel library (`model.kernels/` beside a package) exports where it is loaded or linked by itself: its rows, or NULL when
// it was compiled against another `abi` than TC_KERNEL_ABI. tc_library_join puts them behind those of tc_library_full.
TC_API const tc_library* tc_library_extra(int32_t abi);

#ifdef __cplusplus
}
#endif
#endif
