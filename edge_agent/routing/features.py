"""Cheap features of a prompt for the difficulty model. Training and running use these same functions.

What is measured is the text alone. There is no user, tenant or price tier among it, by design.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.conversation import Conversation

MAX_CHARS = 20_000
"""Only the beginning of a longer text is looked at, so that the cost of deciding is bounded."""

_DIGITS = re.compile(r"\d")
_MARKS = re.compile(r"[=+*/^<>%$\\]")
_SENTENCE_ENDS = re.compile(r"[.!?](?:\s|$)")
_NEGATIONS = re.compile(r"\b(?:not|except|never|false|least|incorrect|without)\b", re.IGNORECASE)
_ARITHMETIC = re.compile(
    r"\b(?:how many|how much|calculate|compute|sum|product|percent|average|probability|ratio|per|total|times|divided"
    r"|equation|solve|prove|derive|integral|derivative)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|\b(?:def|class|import|return|function|SELECT)\b\s*\S*[({:;]|[{};]\s*\n")
_EXPLAINING = re.compile(r"\b(?:why|how|explain|compare|analy[sz]e|discuss)\b", re.IGNORECASE)
_ASKING = re.compile(r"\b(?:what|which|who|whom|whose|when|where)\b", re.IGNORECASE)

NAMES = (
    "log_chars",
    "log_words",
    "mean_word_length",
    "log_sentences",
    "log_digits",
    "log_marks",
    "arithmetic_words",
    "negations",
    "code_marks",
    "explaining_words",
    "question_words",
    "commas_per_word",
)


def judged_text(conversation: Conversation) -> str:
    """The text that intent and difficulty are judged by: embed this one."""
    return conversation.last_user_text


def features(text: str) -> NDArray[np.float64]:
    """One number for each of NAMES, before they are scaled."""
    text = text[:MAX_CHARS]
    words = text.split()
    count = max(1, len(words))
    return np.array(
        [
            math.log1p(len(text)),
            math.log1p(len(words)),
            sum(map(len, words)) / count,
            math.log1p(_count(_SENTENCE_ENDS, text)),
            math.log1p(_count(_DIGITS, text)),
            math.log1p(_count(_MARKS, text)),
            math.log1p(_count(_ARITHMETIC, text)),
            math.log1p(_count(_NEGATIONS, text)),
            float(_CODE.search(text) is not None),
            math.log1p(_count(_EXPLAINING, text)),
            math.log1p(_count(_ASKING, text)),
            text.count(",") / count,
        ]
    )


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))
