"""Running models on this machine: language models in processes of their own, the encoder in threads."""
