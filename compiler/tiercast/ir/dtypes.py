"""The element types that the runtime holds, by our names."""

from __future__ import annotations

import onnx_ir as ir

# In the order of package.fbs's DType. f64 and bf16 are moved and converted, nothing computes with them.
NAMES: dict[ir.DataType, str] = {
    ir.DataType.FLOAT: "f32",
    ir.DataType.FLOAT16: "f16",
    ir.DataType.INT8: "s8",
    ir.DataType.UINT8: "u8",
    ir.DataType.INT32: "s32",
    ir.DataType.INT64: "s64",
    ir.DataType.BOOL: "bool",
    ir.DataType.INT16: "s16",
    ir.DataType.UINT16: "u16",
    ir.DataType.UINT32: "u32",
    ir.DataType.UINT64: "u64",
    ir.DataType.DOUBLE: "f64",
    ir.DataType.BFLOAT16: "bf16",
}
BY_NAME: dict[str, ir.DataType] = {name: kind for kind, name in NAMES.items()}
ONLY_MOVED = frozenset({ir.DataType.DOUBLE, ir.DataType.BFLOAT16})
WHOLE = frozenset({"s8", "u8", "s32", "s64", "s16", "u16", "u32", "u64"})
