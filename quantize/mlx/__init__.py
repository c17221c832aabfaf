"""To MLX: mlx-lm's conversion, recipes and learned methods, in a process of its own."""
