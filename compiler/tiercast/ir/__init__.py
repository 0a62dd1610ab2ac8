"""The graph (onnx-ir) and what Tiercast adds to it: stage specs, the tiercast domain's schemas, text, pass reports."""
