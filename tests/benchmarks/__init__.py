"""What the documentation quotes, measured as ratios against a baseline in the same run."""
