"""TFLite's operators as ONNX ones: the file as plain data, the graph under way, a module per op family."""
