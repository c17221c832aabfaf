"""ONNX Runtime behind the `Decoder` protocol, on the CPU. Used only in a model's own process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.formats.hf_files import unreadable
from edge_agent.models.lora.facts import unsupported_by_onnx
from edge_agent.runtimes.decoders.decoder import NO_WIDTHS, Logits, NoRoomError, Span
from edge_agent.runtimes.decoders.hf_vocabulary import HfVocabulary
from edge_agent.runtimes.decoders.onnx_caches import Step, caches_for
from edge_agent.runtimes.decoders.onnx_graph import OnnxGraph, open_graph

# Graphs give logits for every position, asked for or not: 512 of them would take 300 MB for a large vocabulary.
# Reading 128 tokens at a time costs a token some 10% more than 512 at a time.
READ_TOKENS = 128
# Memory for a prompt's activations goes back to the system after each run; for an answer's tokens it is kept.
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")


def open_onnx_decoder(path: Path, *, context_length: int, sequences: int, threads: int) -> OnnxDecoder:
    """Load the model `path` with the tokenizer beside it. Its memory is `context_length` cells, for all sequences.

    Nothing in the folder is executed. Blocks while it reads the weights. Raises Broken code "model_file_missing" or
    "model_unreadable", the latter also where a model's external data is not in files of its own folder.
    """
    graph = open_graph(path, threads=threads)
    length = min(context_length, graph.context_length or context_length)
    if length < 1:
        raise unreadable(path, f"cannot be given a context of {length} tokens")
    vocabulary = HfVocabulary.open(path.parent, graph.vocabulary_size)
    return OnnxDecoder(graph, vocabulary, context_length=length, sequences=sequences)


class OnnxDecoder:
    """See `Decoder`.

    Cells that sequences share count once, but each sequence may come to have its own copy of them. So that this has
    a bound, NoRoomError is raised, too, where all sequences' cells would be more than twice `cells`, each counted
    for every sequence that has it.
    """

    can_share_prefixes = True
    slow_widths = NO_WIDTHS

    def __init__(self, graph: OnnxGraph, vocabulary: HfVocabulary, *, context_length: int, sequences: int) -> None:
        from onnxruntime import RunOptions  # noqa: PLC0415  # an engine: the daemon starts without it

        self.vocabulary = vocabulary
        self.context_length = self.cells = context_length
        self.sequences = sequences
        self._graph = graph
        self._caches = caches_for(graph, context_length=context_length, sequences=sequences)
        # A number for each cell, so that one that several sequences have is known to be the same.
        self._cells: list[list[int]] = [[] for _ in range(sequences)]
        self._owners: Counter[int] = Counter()
        self._names = count()
        self._writing, self._reading = RunOptions(), RunOptions()
        self._reading.add_run_config_entry(*_SHRINK)

    def load_adapter(self, name: str, path: Path) -> None:  # noqa: ARG002 - the protocol's
        """See `Decoder`: always refused, as a graph's weights are what they are."""
        raise unsupported_by_onnx()

    def evaluate(self, spans: Sequence[Span], adapter: str | None = None) -> list[Logits]:  # noqa: ARG002 - as above
        """See `Decoder`. Raises ValueError where a span is not one that continues its sequence."""
        self._check(spans)
        by_sequence = {span.sequence: span for span in spans}
        single = [span.sequence for span in spans if len(span.tokens) == 1]
        found: dict[int, list[Logits]] = {}
        try:
            for group in self._caches.groups(single) if single else []:
                tokens = {sequence: [by_sequence[sequence].tokens[0]] for sequence in group}
                rows = self._run(tokens, {sequence: by_sequence[sequence].wanted for sequence in group})
                found |= {sequence: [row] for sequence, row in rows.items()}
            for span in spans:
                if len(span.tokens) > 1:
                    found[span.sequence] = self._read(span)
        except Exception as error:  # each of the library's errors derives from bare Exception
            raise RuntimeError(f"ONNX Runtime failed with {type(error).__name__}") from error
        for span in spans:
            names = [next(self._names) for _ in span.tokens]
            self._cells[span.sequence] += names
            self._owners.update(names)
        return [np.concatenate(found[span.sequence]) for span in spans]

    def forget(self, sequence: int, start: int = 0) -> bool:
        """See `Decoder`."""
        gone = self._cells[sequence][start:]
        if not gone:
            return True
        self._caches.forget(sequence, start)
        del self._cells[sequence][start:]
        self._owners.subtract(gone)
        for cell in gone:
            if not self._owners[cell]:
                del self._owners[cell]
        return True

    def share(self, source: int, target: int, length: int) -> None:
        """See `Decoder`."""
        if self._cells[target] or not 0 <= length <= len(self._cells[source]):
            raise ValueError("these sequences cannot share that")
        self._caches.share(source, target, length)
        self._cells[target] = self._cells[source][:length]
        self._owners.update(self._cells[target])

    def embed(self, tokens: Sequence[int], adapter: str | None = None) -> Logits:  # noqa: ARG002 - the protocol's
        """See `Decoder`: always refused, as the graphs of language models give logits only."""
        raise InvalidRequest(
            "This model's ONNX graph gives no embeddings.",
            code="unsupported_locally",
            hint="Ask for embeddings without naming a model, or name an encoder.",
            param="model",
        )

    def close(self) -> None:
        """See `Decoder`."""
        del self._caches, self._graph

    def _check(self, spans: Sequence[Span]) -> None:
        if len({span.sequence for span in spans}) != len(spans):
            raise ValueError("two spans are of one sequence")
        for span in spans:
            if not 0 <= span.sequence < self.sequences or span.start != len(self._cells[span.sequence]):
                raise ValueError("a span does not continue its sequence")
            if not 0 <= span.wanted <= len(span.tokens) or not span.tokens:
                raise ValueError("a span wants more logits than it has tokens, or is empty")
            # Native code takes a token for an index, and its message for a wrong one would say which it was.
            if min(span.tokens) < 0 or max(span.tokens) >= self._graph.vocabulary_size:
                raise ValueError("a span has a token that the model lacks")
            if span.start + len(span.tokens) > self.context_length:
                raise ValueError("a span would make its sequence longer than the context")
        new = sum(len(span.tokens) for span in spans)
        if len(self._owners) + new > self.cells:
            raise NoRoomError("all cells are taken")
        if self._owners.total() + new > 2 * self.cells:
            raise NoRoomError("sequences that began alike have too many copies of it")

    def _read(self, span: Span) -> list[Logits]:
        """Several tokens of one sequence, a piece at a time."""
        found = []
        for at in range(0, len(span.tokens), READ_TOKENS):
            piece = span.tokens[at : at + READ_TOKENS]
            wanted = max(0, at + len(piece) - (len(span.tokens) - span.wanted))
            rows = self._run({span.sequence: piece}, {span.sequence: min(wanted, len(piece))})
            found.append(rows[span.sequence])
        return found

    def _run(self, tokens: Mapping[int, Sequence[int]], wanted: Mapping[int, int]) -> dict[int, Logits]:
        """Append as many tokens to each sequence; its logits for the last `wanted`, shape (wanted, vocabulary)."""
        new = len(next(iter(tokens.values())))
        step = self._caches.begin(list(tokens), new)
        ids = np.zeros((len(step.rows), new), np.int64)
        for row, sequence in enumerate(step.rows):
            if sequence is not None:
                ids[row] = tokens[sequence]
        logits = self._compute(step, ids)
        return {
            # A copy of these rows alone: the array of all positions is freed at once.
            sequence: logits[row, new - wanted[sequence] :].astype(np.float32)
            for row, sequence in enumerate(step.rows)
            if sequence is not None
        }

    def _compute(self, step: Step, ids: NDArray[np.int64]) -> Logits:
        new = ids.shape[1]
        session = self._graph.session
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", step.mask)
        if self._graph.takes_positions:
            binding.bind_cpu_input("position_ids", step.starts[:, None] + np.arange(new))
        for name, value in step.inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, output in step.outputs.items():
            if output is None:
                binding.bind_output(name)
            else:
                binding.bind_ortvalue_output(name, output)
        binding.bind_output("logits")
        session.run_with_iobinding(binding, self._writing if new == 1 else self._reading)
        *made, logits = binding.get_outputs()
        self._caches.end(step, new, dict(zip(step.outputs, made, strict=True)))
        found: Logits = logits.numpy()
        return found
