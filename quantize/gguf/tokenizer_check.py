"""Whether llama.cpp cuts text into the same tokens as the source's own tokenizer, in a process of its own.

    python -P -m quantize.gguf.tokenizer_check MODEL.gguf tokenizer.json

Prints {"texts": how many were tried, "differ": how many had other tokens}. llama.cpp ends the process where the
vocabulary contradicts itself, and a tokenizer.json may be anybody's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "In 2024, 1234567 items cost 3.14159 each: 100% of £5, or 0x1F.",
    "  two leading spaces,\ttabs,\n\nempty lines   and   runs of spaces  \n",
    "don't we'll I'VE it's they're",
    "def f(x: int) -> dict:\n    return {'a': [x ** 2, x != 3]}  # comment\n",
    "Ünïcödé, naïve façade, Straße, 你好世界, こんにちは, مرحبا, 🙂👍🏽",
    "camelCase snake_case https://example.invalid/a?b=c&d=%20",
)


def differing(gguf: Path, tokenizer: Path) -> int | None:
    """How many of TEXTS the two cut differently, None where the check itself crashed. Blocks, for a second or two."""
    command = [sys.executable, "-P", "-m", "quantize.gguf.tokenizer_check", str(gguf), str(tokenizer)]
    environ = {**os.environ, "GGML_NO_BACKTRACE": "1"}  # a crash would otherwise start a debugger
    ended = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        return None
    return int(json.loads(ended.stdout)["differ"])


def main(gguf: str, tokenizer: str) -> None:
    """Compare, and say what came out."""
    from llama_cpp import Llama  # noqa: PLC0415  # an engine: half a second
    from tokenizers import Tokenizer  # noqa: PLC0415

    own = Tokenizer.from_file(tokenizer)
    model = Llama(gguf, vocab_only=True, verbose=False)
    differ = sum(
        own.encode(text, add_special_tokens=False).ids != model.tokenize(text.encode(), add_bos=False, special=True)
        for text in TEXTS
    )
    model.close()
    sys.stdout.write(json.dumps({"texts": len(TEXTS), "differ": differ}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
