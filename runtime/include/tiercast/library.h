// The kernel library that `tiercast.codegen` renders.
#ifndef TIERCAST_LIBRARY_H_
#define TIERCAST_LIBRARY_H_

#include "tiercast/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

// Every kernel of the target this was built for, rows of one op in order of merit. Static data: valid for ever, shared by all threads.
TC_API const tc_library* tc_library_full(void);

#ifdef __cplusplus
}
#endif
#endif
