"""The graph (onnx-ir) and what Tiercast adds: stage specs, the domain's schemas, text, pass reports."""
