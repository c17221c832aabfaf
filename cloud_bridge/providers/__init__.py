"""Who can answer: a provider is an address and a key over one of two wire formats.

`config` what the operator writes    `wire` what a format must say, `openai` and `anthropic` say it
`provider` sends, and reads the answer
"""
