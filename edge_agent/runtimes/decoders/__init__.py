"""The libraries that compute: llama.cpp, ONNX Runtime and MLX, behind one protocol."""
