"""tf2onnx's own tests, run by our engine instead of onnxruntime."""
