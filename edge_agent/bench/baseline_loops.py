"""Each library's own way to generate, without anything of ours around it: what `models bench` is measured against.

Greedy, one sequence at a time, as the library's documentation shows it. Used only in `baseline_process`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_agent.runtimes.chat.chat_template import CHATML, ChatTemplate

Messages = Sequence[Mapping[str, str]]


class BaselineLoop(Protocol):
    """One loaded model. `name` is the library's, with its version."""

    name: str

    def prompt(self, messages: Messages) -> list[int]:
        """The prompt's tokens, chat template applied."""
        ...

    def generate(self, prompt: list[int], max_tokens: int) -> Iterator[int]:
        """The answer's tokens, one by one, without the one that ends it."""
        ...

    def text(self, tokens: list[int]) -> str:
        """Tokens as text."""
        ...


class LlamaLoop:
    """`llama_cpp.Llama.generate`. It keeps the last prompt's cells by itself."""

    def __init__(self, path: Path, context_length: int, threads: int, *, is_mapped: bool = True) -> None:
        import llama_cpp  # noqa: PLC0415 - optional engines are loaded only where they run
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # noqa: PLC0415

        self.name = f"llama_cpp.Llama {version('llama-cpp-python')}"
        self._llama = llama_cpp.Llama(
            str(path),
            n_ctx=context_length,
            n_threads=threads,
            n_threads_batch=threads,
            use_mmap=is_mapped,
            verbose=False,
        )
        self._is_end = llama_cpp.llama_vocab_is_eog
        self._vocab = llama_cpp.llama_model_get_vocab(self._llama.model)
        eos = self._llama.detokenize([self._llama.token_eos()], special=True).decode("utf-8", "replace")
        template = self._llama.metadata.get("tokenizer.chat_template", CHATML)
        self._format = Jinja2ChatFormatter(template, eos_token=eos, bos_token="")

    def prompt(self, messages: Messages) -> list[int]:
        """See `BaselineLoop`."""
        rendered = self._format(messages=list(messages)).prompt
        return list(self._llama.tokenize(rendered.encode(), special=True))

    def generate(self, prompt: list[int], max_tokens: int) -> Iterator[int]:
        """See `BaselineLoop`."""
        for number, token in enumerate(self._llama.generate(prompt, temp=0.0), 1):
            if self._is_end(self._vocab, token):
                return
            yield token
            if number == max_tokens:
                return

    def text(self, tokens: list[int]) -> str:
        """See `BaselineLoop`."""
        return str(self._llama.detokenize(tokens).decode("utf-8", "replace"))


class OnnxLoop:
    """A plain `onnxruntime` session that is fed its own key and value arrays, which it hands back without a copy."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime  # noqa: PLC0415 - as above
        from tokenizers import Tokenizer  # noqa: PLC0415

        self.name = f"onnxruntime {version('onnxruntime')}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._of_numpy = onnxruntime.OrtValue.ortvalue_from_numpy
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._tokenizer = Tokenizer.from_file(str(path.parent / "tokenizer.json"))
        self._template = _template_beside(path)
        ends = _json_beside(path, "generation_config.json").get("eos_token_id", [])
        self._ends = set(ends if isinstance(ends, list) else [ends])

    def prompt(self, messages: Messages) -> list[int]:
        """See `BaselineLoop`."""
        rendered = self._template.render([dict(message) for message in messages])
        return list(self._tokenizer.encode(rendered, add_special_tokens=False).ids)

    def generate(self, prompt: list[int], max_tokens: int) -> Iterator[int]:
        """See `BaselineLoop`."""
        kept = {name: self._empty(each) for name, each in self._inputs.items() if name.startswith("past_key_values.")}
        tokens, done = prompt, 0
        for _ in range(max_tokens):
            logits, *present = self._session.run_with_ort_values(self._outputs, self._feed(tokens, done) | kept)
            done += len(tokens)
            token = int(logits.numpy()[0, -1].argmax())
            if token in self._ends:
                return
            yield token
            kept = dict(zip(kept, present, strict=True))
            tokens = [token]

    def text(self, tokens: list[int]) -> str:
        """See `BaselineLoop`."""
        return str(self._tokenizer.decode(tokens))

    def _feed(self, tokens: list[int], done: int) -> dict[str, Any]:
        positions = np.arange(done, done + len(tokens), dtype=np.int64)[None]
        feed = {
            "input_ids": np.array([tokens], dtype=np.int64),
            "attention_mask": np.ones((1, done + len(tokens)), dtype=np.int64),
            "position_ids": positions,
        }
        return {name: self._of_numpy(value) for name, value in feed.items() if name in self._inputs}

    def _empty(self, past: Any) -> Any:
        _, heads, _, size = past.shape
        dtype = np.float16 if past.type == "tensor(float16)" else np.float32
        return self._of_numpy(np.zeros((1, heads, 0, size), dtype=dtype))


class MlxLoop:
    """`mlx_lm.stream_generate`."""

    def __init__(self, path: Path) -> None:
        import mlx_lm  # noqa: PLC0415 - as above

        self.name = f"mlx_lm {version('mlx-lm')}"
        self._stream = mlx_lm.stream_generate
        self._model, self._tokenizer = mlx_lm.load(str(path.parent))

    def prompt(self, messages: Messages) -> list[int]:
        """See `BaselineLoop`."""
        rendered = self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer.encode(rendered, add_special_tokens=False))

    def generate(self, prompt: list[int], max_tokens: int) -> Iterator[int]:
        """See `BaselineLoop`."""
        for response in self._stream(self._model, self._tokenizer, prompt, max_tokens=max_tokens):
            if response.token in self._tokenizer.eos_token_ids:
                return
            yield int(response.token)

    def text(self, tokens: list[int]) -> str:
        """See `BaselineLoop`."""
        return str(self._tokenizer.decode(tokens))


def load(model_format: str, path: Path, context_length: int, threads: int, *, is_mapped: bool = True) -> BaselineLoop:
    """The library's own loop for this format. Raises whatever the library does; KeyError for an unknown format."""
    match model_format:
        case "gguf":
            return LlamaLoop(path, context_length, threads, is_mapped=is_mapped)
        case "onnx":
            return OnnxLoop(path, threads)
        case "mlx":
            return MlxLoop(path)
    raise KeyError(model_format)


def _json_beside(path: Path, name: str) -> dict[str, Any]:
    file = path.parent / name
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _template_beside(path: Path) -> ChatTemplate:
    file = path.parent / "chat_template.jinja"
    config = _json_beside(path, "tokenizer_config.json")
    source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template", CHATML)
    return ChatTemplate(source)
