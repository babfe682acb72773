"""Networks as ONNX files: the traced program, written without the package `onnx`."""
