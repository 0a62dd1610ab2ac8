"""Physical ops: one file is one op (legalise from ONNX, infer shapes, lower to kernel calls)."""
