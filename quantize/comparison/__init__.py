"""Several artifacts of one model side by side, and the best one within limits."""
