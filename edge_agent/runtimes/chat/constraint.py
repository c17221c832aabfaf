"""What an answer may continue with, token by token: llguidance over any model's vocabulary."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import numpy as np

from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.runtimes.chat.json_schema import unsupported_schema
from edge_agent.runtimes.decoders.decoder import Logits, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

_SILENT = 0
_WORD_BITS = 32

# What llguidance complains of, and the keyword that is to blame; its own words may quote the schema.
_COMPLAINTS = (
    ("format", "format"),
    ("patternProperty", "patternProperties"),
    ("regex", "pattern"),
    ("lookaround", "pattern"),
    ("oneOf", "oneOf"),
    ("maxProperties", "minProperties' or 'maxProperties"),
    ("multiple", "multipleOf"),
    ("integer range", "minimum' or 'maximum"),
    ("float range", "minimum' or 'maximum"),
    ("Pointer", "$ref"),
    ("circular", "$ref"),
    ("Invalid type", "type"),
    ("type must", "type"),
)
_EXPECTED = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "required", "properties"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "format", "enum"),
)


class Constraints:
    """Makes constraints for one model. Thread-safe; the first takes up to a second, since it reads the vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None

    def constraint(self, grammar: str) -> Constraint:
        """A constraint for a grammar as `answer_format` writes it.

        Raises InvalidRequest code "unsupported_schema" where the grammar cannot be kept or is too complex.
        """
        from llguidance import LLMatcher  # noqa: PLC0415

        matcher = LLMatcher(self._ready(), grammar, log_level=_SILENT, limits=_limits())
        # A warning says that something would be ignored. The first mask shows what is too complex to be used.
        if not matcher.is_error() and not matcher.get_grammar_warnings():
            matcher.compute_bitmask()
        if matcher.is_error() or matcher.get_grammar_warnings():
            raise self._refusal(grammar, matcher.get_error())
        return Constraint(matcher, self._vocabulary.size, frozenset(self._vocabulary.end_tokens))

    def _ready(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._vocabulary)
            return self._tokenizer

    def _refusal(self, grammar: str, error: str) -> InvalidRequest:
        """Which of the grammar's schemas is to blame, and for what. No word of the schema is repeated."""
        from llguidance import LLMatcher  # noqa: PLC0415

        param = "response_format"
        for part in json.loads(grammar)["grammars"]:
            if "json_schema" in part:
                param = part["name"].replace("-", "[") + ("]" if "-" in part["name"] else "")
                alone = json.dumps({"grammars": [part]})
                matcher = LLMatcher(self._ready(), alone, log_level=_SILENT, limits=_limits())
                if matcher.is_error() or matcher.get_grammar_warnings():
                    error = matcher.get_error()
                    break
        return unsupported_schema(param, _complaint(error))


class Constraint:
    """The state of one answer. One thread uses it.

    Every method raises Broken code "inference_failed" once the answer has become too complex to follow.
    """

    def __init__(self, matcher: LLMatcher, size: int, ends: frozenset[int]) -> None:
        self._matcher = matcher
        self._size = size
        self._ends = ends
        self._bits = np.zeros(-(-size // _WORD_BITS), dtype=np.int32)

    def copy(self) -> Constraint:
        """Another answer at the same place."""
        return Constraint(self._matcher.deep_copy(), self._size, self._ends)

    @property
    def is_over(self) -> bool:
        """Whether only the end of the answer may come."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def allows(self, token: int) -> bool:
        """Whether the token may come next; about a hundred times cheaper than a mask."""
        if self._matcher.validate_tokens([token]) == 1:
            return True
        self._check()
        return token in self._ends and self.is_over

    def mask(self, logits: Logits) -> None:
        """Set the logits, of shape (vocabulary size,), of all tokens that may not come next to -inf."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check()
        allowed = np.unpackbits(self._bits.view(np.uint8), count=self._size, bitorder="little")
        logits[: self._size][allowed == 0] = -np.inf
        logits[self._size :] = -np.inf

    def accept(self, token: int) -> None:
        """The token is part of the answer."""
        # After all is said the matcher takes no end token, where more might have come it does.
        if not (token in self._ends and self.is_over) and not self._matcher.consume_token(token):
            raise _lost()

    def forced(self) -> list[int]:
        """Tokens that must come next, as the model's own tokenizer would write them; often none."""
        tokens = self._matcher.compute_ff_tokens()
        self._check()
        return tokens

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _lost()


class _Source:
    """A vocabulary as llguidance reads it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        tokens = range(vocabulary.size)
        self.special_token_ids = [token for token in tokens if vocabulary.is_control(token)]
        controls = set(self.special_token_ids)
        self.tokens = [
            vocabulary.spelling(token).encode() if token in controls else vocabulary.piece(token) for token in tokens
        ]
        self.eos_token_id = vocabulary.end_tokens[0]
        self.bos_token_id = None

    def __call__(self, text: bytes | str) -> list[int]:
        whole = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return self._vocabulary.tokenize(whole, add_special=False, parse_special=False)


def _tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper  # noqa: PLC0415

    return LLTokenizer(TokenizerWrapper(_Source(vocabulary)), eos_token=list(vocabulary.end_tokens))


def _limits() -> LLParserLimits:
    """Bounds on time and memory, so that no schema can hold up the other answers; and errors without its words."""
    from llguidance import LLParserLimits  # noqa: PLC0415

    return LLParserLimits(
        max_items_in_row=4_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_lexer_states=50_000,
        max_grammar_size=200_000,
        verbose_errors=False,
    )


def _complaint(error: str) -> str:
    expected = [keyword for keyword in _EXPECTED if f"for '{keyword}'" in error or error.startswith(f"{keyword} must")]
    if expected:
        return f"has a keyword ('{expected[0]}') with a value that cannot be used"
    if error.startswith(("Unsatisfiable", "All options", "No options")) or "NoExtension" in error:
        return "is one that no value fits"
    for words, keyword in _COMPLAINTS:
        if words in error:
            return f"has a keyword ('{keyword}') with a value that is not supported"
    return "is too large or too complex"


def _lost() -> Broken:
    return Broken(
        "The answer could not be held to its format any further.",
        code="inference_failed",
        hint="Ask for a simpler `response_format`, or simpler tools.",
    )
