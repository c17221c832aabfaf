"""Stand-ins that read like what they stand for: a coined name for a name, a number of a test range for a number.

`words`, `draws`        the coined names, and choosing with a session's seed
`numbers`               telephone numbers, cards, IBANs, IP and MAC addresses, dates
`names`                 people, organisations, places and addresses, word by word
`forms`, `stream`       finding the stand-ins again, in a text and in one that comes in pieces
`surrogates`            one session's stand-ins

All of it is pure. A word of a name always has the same stand-in in a session, so a surname alone, a name in capitals
and a possessive come back as what they stand for, without asking whose they are.
"""
