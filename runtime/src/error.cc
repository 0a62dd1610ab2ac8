#include "error.h"

#include <stdarg.h>
#include <stdio.h>

namespace tiercast {

tc_status fail(tc_error* error, tc_status status, const char* format, ...) {
  if (error == nullptr) return status;
  error->status = status;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof(error->message), format, arguments);
  va_end(arguments);
  return status;
}

}  // namespace tiercast
