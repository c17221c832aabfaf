"""Token classifiers on onnxruntime: what only reading can find."""
