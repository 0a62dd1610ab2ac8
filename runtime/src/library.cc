#include <string.h>

#include "error.h"

using tiercast::fail;

tc_status tc_library_join(const tc_library* first, const tc_library* more, const tc_kernel** kernels, int64_t capacity, tc_library* joined,
                          tc_error* error) {
  if (first == nullptr || more == nullptr || kernels == nullptr || joined == nullptr)
    return fail(error, TC_ERROR_ARGUMENT, "tc_library_join: an argument is NULL");
  if (first->count > capacity || more->count > capacity - first->count)
    return fail(error, TC_ERROR_ARGUMENT, "tc_library_join: %lld and %lld rows do not fit in %lld", static_cast<long long>(first->count),
                static_cast<long long>(more->count), static_cast<long long>(capacity));
  for (int64_t i = 0; i < more->count; ++i)
    for (int64_t j = 0; j < first->count; ++j)
      if (strcmp(more->kernels[i]->name, first->kernels[j]->name) == 0)
        return fail(error, TC_ERROR_ARGUMENT, "tc_library_join: both libraries have a row %s", more->kernels[i]->name);
  memcpy(kernels, first->kernels, static_cast<size_t>(first->count) * sizeof(*kernels));
  memcpy(kernels + first->count, more->kernels, static_cast<size_t>(more->count) * sizeof(*kernels));
  *joined = {kernels, first->count + more->count, first->target};
  return TC_OK;
}
