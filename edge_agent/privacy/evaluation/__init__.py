"""How well masking works, measured: for `edge-agent privacy eval`.

`figure`, `datasets`                   one measured figure; public data sets as they lie on disk
`judgments`, `tokens`, `leaks`         the scoring of each data set; pure
`questions`, `surfaces`, `directory`   what is generated: questions with exact answers, requests, text dense with values
`payloads`, `specimens`                generated texts with planted values, each of its own format
`stock`                                Presidio as it comes, to compare with
`memory`                               a vault that forgets
`detection`, `speed`, `wire`           the measuring; blocking, local, no network
"""
