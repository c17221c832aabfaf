"""Train the token classifier that finds who and what a text is about: `python -m quantize.ner`."""
