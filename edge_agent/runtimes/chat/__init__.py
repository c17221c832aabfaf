"""From a conversation to tokens, and from tokens to an answer that keeps to its format."""
