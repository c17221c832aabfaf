"""To ONNX: exported and quantized in an environment of its own, which has torch and optimum."""
