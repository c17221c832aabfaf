"""Small tokenizers, trained on the spot, in folders as Hugging Face lays them out."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

MARKS = ["<s>", "<|turn|>", "<|end|>"]
CORPUS = ["the quick brown fox jumps over the lazy dog", "Grüße aus Köln, naïve café", "1234567890 + 漢字 🙂"] * 3


def write(folder: Path, tokenizer: Tokenizer, **settings_of: object) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    wanted = {"bos_token": "<s>", "eos_token": "<|end|>", **settings_of}
    (folder / "tokenizer_config.json").write_text(json.dumps(wanted))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": tokenizer.token_to_id("<|end|>")}))
    return folder


def byte_level(alphabet: list[str] | None = None, unknown: str | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet is None else alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def sentence_piece(*, prefix: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first" if prefix else "never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", *MARKS, *every_byte], initial_alphabet=["▁"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Byte tokens are ordinary entries of a vocabulary; only training had to be told of them so.
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = [each for each in description["added_tokens"] if each["content"] not in every_byte]
    return Tokenizer.from_str(json.dumps(description))
