"""The language that the device and the bridge share. Pure functions and frozen values; no I/O.

`conversation`  what is asked                    `events`   what is answered, as a stream
`masked`        what may leave the device        `report`   what every answer says of itself
`envelope`      an escalation on the wire        `problems` the error tree
`openai_chat`, `anthropic`                       wire formats, both directions each
`sse`           how they are streamed            `fields`   how a client's JSON is read
`signatures`    who sent it (RFC 9421)           `trace`    which trace it belongs to (W3C)
"""
