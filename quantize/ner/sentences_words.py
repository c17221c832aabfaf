"""The word lists of the generated training text, from `templates/words/`. All were written for this project."""

from __future__ import annotations

import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent / "templates" / "words"


def lists(name: str) -> dict[str, tuple[str, ...]]:
    """The lists of a file (`places`) or of a table in it (`values.codes`); raises KeyError for an unknown table."""
    stem, _, table = name.partition(".")
    found = tomllib.loads((FOLDER / f"{stem}.toml").read_text(encoding="utf-8"))
    return {key: tuple(words) for key, words in (found[table] if table else found).items() if isinstance(words, list)}
