"""To GGUF: llama.cpp's own converters and quantizers, and the importance matrices that they take."""
