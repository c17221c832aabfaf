"""Convert, quantize and judge models for the three runtimes."""
