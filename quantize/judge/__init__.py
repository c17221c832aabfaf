"""What an artifact costs in quality beside the model it was made of, and what it needs to run.

`reference.reference` keeps what the model itself says of a text; `judgement.judge` holds an artifact against it.
"""
