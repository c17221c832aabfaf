"""LoRA adapters: between the form of PEFT, of llama.cpp and of mlx-lm."""
