# Prints the stripped sizes of the two shared libraries as JSON. The budgets (design: a byte gate) hold for AArch64.
set(core_budget_bytes 102400)
set(full_budget_bytes 1048576)
file(SIZE ${core} core_bytes)
file(SIZE ${full} full_bytes)
message("{\"target\": \"${target}\", \"core_bytes\": ${core_bytes}, \"core_budget_bytes\": ${core_budget_bytes}, "
        "\"full_bytes\": ${full_bytes}, \"full_budget_bytes\": ${full_budget_bytes}}")
if(target STREQUAL "linux-arm64" AND (core_bytes GREATER core_budget_bytes OR full_bytes GREATER full_budget_bytes))
  message(FATAL_ERROR "${target}: a library is over its byte budget")
endif()
