// The contract between the runtime and the kernels: plain C, data only, no op names.
// A kernel sees views (pointer, shape, strides) that the runtime has already checked to lie inside their segments, and a params struct
// that `check` must accept before `run` may be called.
#ifndef TIERCAST_KERNEL_H_
#define TIERCAST_KERNEL_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TC_API __attribute__((visibility("default")))
#else
#define TC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { TC_MAX_RANK = 8, TC_MAX_OPERANDS = 256 };

// Counts up when anything in this file changes its meaning or layout: code compiled against another number is refused.
enum { TC_KERNEL_ABI = 1 };

// Flags of a tc_kernel.
enum {
  TC_KERNEL_IN_PLACE = 1,  // an output may be exactly the view of an input; without it, no output shares a byte with an input
};

// f64 and bf16 are moved and converted, nothing computes with them.
typedef enum tc_dtype {
  TC_F32 = 0,
  TC_F16 = 1,
  TC_S8 = 2,
  TC_U8 = 3,
  TC_S32 = 4,
  TC_S64 = 5,
  TC_BOOL = 6,
  TC_S16 = 7,
  TC_U16 = 8,
  TC_U32 = 9,
  TC_U64 = 10,
  TC_F64 = 11,
  TC_BF16 = 12,
  TC_DTYPE_COUNT
} tc_dtype;

// What a CPU has. A kernel row `needs` a set of these; names in kernels.toml are these without the prefix, in lower case.
typedef enum tc_cpu_feature {
  TC_CPU_AVX2 = 1 << 0,     // with FMA and F16C
  TC_CPU_AVX512 = 1 << 1,   // F, BW, DQ, VL
  TC_CPU_VNNI = 1 << 2,     // AVX512-VNNI
  TC_CPU_NEON = 1 << 3,     // AArch64 Advanced SIMD, or ARMv7 NEON with VFPv4
  TC_CPU_FP16 = 1 << 4,     // ARMv8.2 half-precision arithmetic
  TC_CPU_DOTPROD = 1 << 5,  // ARMv8.2 SDOT/UDOT
  TC_CPU_I8MM = 1 << 6,     // ARMv8.6 SMMLA
  TC_CPU_OOO = 1 << 7,      // an AArch64 core that runs instructions out of order
} tc_cpu_feature;

// One operand. `strides` are in elements; `dims[i] >= 1`; an absent optional operand has data == NULL and rank 0.
// The runtime guarantees that every element reached by in-range indices lies inside the operand's segment, that strides are >= 0, that
// dims[i] < 2^31 and that the product of all dims is <= 2^40; output strides are > 0 wherever dims > 1 and no two elements share a byte.
typedef struct tc_view {
  void* data;
  int32_t dtype;
  int32_t rank;
  int64_t dims[TC_MAX_RANK];
  int64_t strides[TC_MAX_RANK];
  int32_t constant;  // 1: verified bytes of the weights segment that never change, the only `data` that `check` may read
  int32_t reserved;
} tc_view;

typedef struct tc_call {
  const tc_view* inputs;
  const tc_view* outputs;
  int32_t input_count;
  int32_t output_count;
  const void* params;  // the op's params struct, 4-byte aligned
  int64_t params_bytes;
  void* scratch;          // this thread's, 64-byte aligned; NULL during `check` and `work`
  int64_t scratch_bytes;  // per thread
} tc_call;

typedef struct tc_kernel {
  const char* name;  // e.g. conv2d_f32f32_avx512_12x32
  const char* op;    // e.g. conv2d_f32f32: rows of one op have one meaning
  uint64_t needs;    // tc_cpu_feature bits
  // NULL when every access `run` makes is inside the operands and scratch for every work item, else a static text that says which rule
  // is broken. `data` of operands with `constant` may be read here; that of others points nowhere until `run`. What a check has read from a
  // constant stays true; a rule about the values of an operand that is not constant must be kept by `run` itself.
  const char* (*check)(const tc_call* call);
  int64_t (*work)(const tc_call* call);                          // number of independent work items, >= 1
  void (*run)(const tc_call* call, int64_t begin, int64_t end);  // items [begin, end); threads run disjoint ranges at once
  uint64_t flags;                                                // TC_KERNEL_IN_PLACE or 0
} tc_kernel;

// Rows of one op are in order of merit: the first whose `needs` the CPU has and whose `check` accepts is bound.
typedef struct tc_library {
  const tc_kernel* const* kernels;
  int64_t count;
  const char* target;  // the target it was built for
} tc_library;

#ifdef __cplusplus
}
#endif
#endif
