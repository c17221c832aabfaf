"""A model's tokens from a folder in Hugging Face form: tokenizer.json and the small files beside it.

Nothing in the folder is executed. The `tokenizers` library does the splitting; what it cannot say, a token's exact
bytes and which tokens end an answer, is worked out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats.hf_config import CONFIG_FILE
from edge_agent.models.formats.hf_files import HINT, missing, object_of, parsed, text_of, unreadable
from edge_agent.models.formats.hf_folder import TOKENIZER_FILE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHAT_TEMPLATE_FILE = "chat_template.jinja"

_MAX_TOKENIZER_BYTES = 128 * 1024 * 1024  # the largest in use, of 262,144 tokens, has 33 MB
_SPACE = "▁"
# Marks of turns that some tokenizers list as ordinary added tokens, though no text should ever spell them.
_MARKS = (("<|", "|>"), ("<\uff5c", "\uff5c>"))
# These end an answer wherever a vocabulary has them; not every model's configuration names all of its own.
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>")

Bytes = Callable[[str], bytes]


class HfVocabulary:
    """See `Vocabulary`.

    The pieces of `tokenize(text, add_special=False, parse_special=False)`, joined, are the text's UTF-8, but for
    what the model itself does not keep:

    - a tokenizer's own normalizer may change the text first (Qwen composes accents: NFC);
    - a SentencePiece tokenizer that puts a space before a text does so here, too, as llama.cpp does;
    - bytes that the vocabulary lacks are left out (SmolLM2 has no byte 0x04), since the token that stands for
      "unknown" is a control token and may even be the one that ends a text;
    - a lone surrogate, which UTF-8 has no form for, becomes "?".

    Whether a beginning-of-text token is added is what tokenizer.json says; `add_bos_token` elsewhere is not read.
    """

    def __init__(self, facts: _Facts, size: int) -> None:
        self.size = size
        self.chat_template = facts.chat_template
        # Which special tokens are read is a property of the tokenizer: two that never change need no lock.
        self._special, self._plain = facts.special, facts.plain
        self._controls: dict[int, str] = {}
        self._pieces = [b""] * size
        self._fill(facts)
        bos = self._id(facts.bos)
        self.adds_bos: bool = bos is not None and facts.begun[:1] == [bos]
        self.bos_text = "" if bos is None else facts.bos or ""
        self.end_tokens: tuple[int, ...] = tuple(dict.fromkeys(self._ends(facts)))
        if not self.end_tokens:
            raise unreadable(facts.path.parent / CONFIG_FILE, "names no token that ends an answer")
        self.eos_text: str = self.spelling(self.end_tokens[0])

    @classmethod
    def open(cls, folder: Path, size: int) -> HfVocabulary:
        """Read the folder's files; `size` is the width of the model's logits.

        The tokenizer may know fewer tokens, and the rest are unknown: b"" and "". Where it knows more, those are
        never given out. Raises Broken code "model_file_missing" or "model_unreadable".
        """
        return cls(_Facts.read(folder), size)

    def is_control(self, token: int) -> bool:
        """See `Vocabulary`."""
        return token in self._controls

    def piece(self, token: int) -> bytes:
        """See `Vocabulary`."""
        return self._pieces[token] if 0 <= token < self.size else b""

    def spelling(self, token: int) -> str:
        """See `Vocabulary`. Where a token is a part of a character, that part is shown as U+FFFD."""
        return self._controls.get(token) or self.piece(token).decode("utf-8", "replace")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """See `Vocabulary`."""
        tokenizer = self._special if parse_special else self._plain
        kept = text.encode("utf-8", "replace").decode()
        try:
            found = tokenizer.encode(kept, add_special_tokens=add_special)
        except Exception as error:  # the library raises bare Exception
            raise Broken(
                "The model's tokenizer could not split the prompt into tokens.", code="inference_failed", hint=HINT
            ) from error
        return [
            token
            for token, is_frame in zip(found.ids, found.special_tokens_mask, strict=True)
            if token < self.size and (parse_special or is_frame or token not in self._controls)
        ]

    def _fill(self, facts: _Facts) -> None:
        added = self._special.get_added_tokens_decoder()
        self._controls = {id_: token.content for id_, token in added.items() if token.special and id_ < self.size}
        for text, id_ in self._special.get_vocab(with_added_tokens=True).items():
            if id_ < self.size and id_ not in self._controls:
                self._pieces[id_] = text.encode() if id_ in added else facts.to_bytes(text)

    def _ends(self, facts: _Facts) -> Iterator[int]:
        named = [token for token in facts.ends if 0 <= token < self.size]
        eos = self._id(facts.eos)
        # An answer ends with the tokenizer's own mark before others, unless the configuration denies it.
        if eos is not None and (eos in named or not named):
            yield eos
        yield from named
        for text in _ENDS:
            token = self._id(text)
            if token in self._controls:
                yield token

    def _id(self, text: str | None) -> int | None:
        token = None if text is None else self._special.token_to_id(text)
        return token if token is not None and token < self.size else None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the files say."""

    path: Path
    special: Tokenizer
    plain: Tokenizer
    begun: Sequence[int]
    to_bytes: Bytes
    bos: str | None
    eos: str | None
    ends: Sequence[int]
    chat_template: str | None

    @classmethod
    def read(cls, folder: Path) -> _Facts:
        path = folder / TOKENIZER_FILE
        source = text_of(path, _MAX_TOKENIZER_BYTES)
        if source is None:
            raise missing(path)
        settings = {**object_of(folder / "special_tokens_map.json"), **object_of(folder / "tokenizer_config.json")}
        model, generation = object_of(folder / CONFIG_FILE), object_of(folder / "generation_config.json")
        roles = [_content(settings.get("bos_token")), _content(settings.get("eos_token"))]
        with _reading(path):
            special, plain = (_tokenizer(source, roles, parse_special=each) for each in (True, False))
            begun = special.encode("a", add_special_tokens=True).ids
            to_bytes = _bytes_of(path, parsed(path, source))
        return cls(
            path=path,
            special=special,
            plain=plain,
            begun=begun,
            to_bytes=to_bytes,
            bos=roles[0],
            eos=roles[1],
            ends=_end_ids(generation, model, model.get("text_config")),
            chat_template=_chat_template(folder, settings),
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever the library raises is the file's fault."""
    try:
        yield
    except Broken:
        raise
    except Exception as error:  # the library raises bare Exception
        raise unreadable(path, "cannot be read") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which cannot be imported
            raise
        raise unreadable(path, "cannot be read") from error


def _tokenizer(source: str, roles: Sequence[str | None], *, parse_special: bool) -> Tokenizer:
    """The library's own, with every token special that no text should spell: marks, and what begins and ends a text."""
    from tokenizers import AddedToken, Tokenizer  # noqa: PLC0415  # an engine: the daemon starts without it
    from tokenizers.models import BPE  # noqa: PLC0415

    tokenizer = Tokenizer.from_str(source)
    added = tokenizer.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}
    named = {text for text in roles if text and tokenizer.token_to_id(text) is not None}
    named |= {token.content for token in added if _is_mark(token.content)}
    more = [AddedToken(text, special=True, normalized=False) for text in sorted(named - special)]
    tokenizer.add_special_tokens(more)
    if isinstance(tokenizer.model, BPE):
        tokenizer.model.unk_token = None  # it would put a control token for a byte that it does not know
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = not parse_special
    return tokenizer


def _is_mark(text: str) -> bool:
    return any(text.startswith(opening) and text.endswith(closing) for opening, closing in _MARKS)


def _bytes_of(path: Path, tokenizer: Mapping[str, Any]) -> Bytes:
    """How a token's entry in the vocabulary becomes bytes. Raises Broken code "model_unreadable"."""
    parts = [*_parts(tokenizer.get("pre_tokenizer")), *_parts(tokenizer.get("decoder"))]
    kinds = {part.get("type") for part in parts}
    if "ByteLevel" in kinds:
        return _byte_level()
    model = tokenizer.get("model")
    has_bytes = isinstance(model, dict) and bool(model.get("byte_fallback"))
    if kinds & {"Metaspace", "ByteFallback"}:
        return lambda text: _sentence_piece(text, has_bytes=has_bytes)
    raise unreadable(path, "is of a kind that writes no text: neither byte-level nor SentencePiece")


def _parts(component: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(component, dict):
        yield component
        for key in ("pretokenizers", "decoders"):
            for part in component.get(key) or ():
                yield from _parts(part)


def _byte_level() -> Bytes:
    """GPT-2's alphabet: a printable character for each byte; bytes that are printable stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    alphabet |= {chr(256 + index): bytes([byte]) for index, byte in enumerate(others)}
    return lambda text: b"".join(alphabet.get(char) or char.encode() for char in text)


def _sentence_piece(text: str, *, has_bytes: bool) -> bytes:
    if has_bytes and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        try:
            return bytes.fromhex(text[3:5])
        except ValueError:
            return text.encode()
    return text.replace(_SPACE, " ").encode()


def _content(token: Any) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _end_ids(*configs: Any) -> list[int]:
    """The ids that the first of the configurations with any names."""
    for config in configs:
        value = config.get("eos_token_id") if isinstance(config, dict) else None
        values = value if isinstance(value, list) else [value]
        ids = [each for each in values if isinstance(each, int) and not isinstance(each, bool)]
        if ids:
            return ids
    return []


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The file's, else the one in the settings; of several with names, the one that is named "default"."""
    template = text_of(folder / CHAT_TEMPLATE_FILE)
    if template is not None:
        return template
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = (each for each in found if isinstance(each, dict))
        found = next((each.get("template") for each in named if each.get("name") == "default"), None)
    return found if isinstance(found, str) else None
