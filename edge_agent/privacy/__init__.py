"""What leaves the device is masked, and the answer comes back whole.

`spans`, `kinds`, `placeholders`, `mapping`, `restore`   pure
`detect` (with `presidio`, `recognizers`, `finders/`, `ner/`)   finds values; blocking, local, no network
`vault`, `mask`                                          one mapping per session; the only maker of `Masked`
`surrogates/`                                            stand-ins that read like the values, for whom that is chosen
`evaluation/`                                            how well all of it works, measured
"""
