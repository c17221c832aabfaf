"""Where an answer comes from: intent, difficulty, confidence, and the decision that weighs them."""
