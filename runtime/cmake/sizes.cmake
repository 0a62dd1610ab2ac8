# Prints the stripped sizes of the two shared libraries as JSON. tools/size_gate.py holds them to targets/sizes.toml.
file(SIZE ${core} core_bytes)
file(SIZE ${full} full_bytes)
message("{\"target\": \"${target}\", \"core_bytes\": ${core_bytes}, \"full_bytes\": ${full_bytes}}")
