"""Where an ONNX model's keys and values lie between runs: two ways, since graphs differ in how they extend them.

A cache tensor has the shape (rows, heads, cells, head_size). Both ways give the evaluation of several sequences at
once a row each; that pays because the weights are read once for all of them.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.runtimes.decoders.onnx_graph import CacheShape, OnnxGraph
from edge_agent.runtimes.decoders.onnx_pages import Pages

if TYPE_CHECKING:
    from onnxruntime import OrtValue

Tensor = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What one run gets. `rows` says which sequence each row of the batch is; None: one that only fills a gap.

    `mask` has shape (rows, cells before + new). Outputs that are None are ONNX Runtime's own to make.
    """

    rows: Sequence[int | None]
    starts: NDArray[np.int64]
    mask: NDArray[np.int64]
    inputs: Mapping[str, OrtValue]
    outputs: Mapping[str, OrtValue | None]


class Caches(Protocol):
    """Keys and values of several sequences. Who calls sees to it that they are not longer than the context."""

    def groups(self, sequences: Sequence[int]) -> list[list[int]]:
        """Which of the sequences, each with one new token, are best evaluated together."""
        ...

    def begin(self, sequences: Sequence[int], new: int) -> Step:
        """Prepare a run that appends `new` tokens to each of the sequences; more than one token only to one."""
        ...

    def end(self, step: Step, new: int, made: Mapping[str, OrtValue]) -> None:
        """Keep what the run made, of outputs that were None."""
        ...

    def forget(self, sequence: int, start: int) -> None:
        """Drop the cells from `start` on."""
        ...

    def share(self, source: int, target: int, length: int) -> None:
        """Let the empty `target` begin like `source`."""
        ...


def caches_for(graph: OnnxGraph, *, context_length: int, sequences: int) -> Caches:
    """The way that suits the graph."""
    if graph.extends_in_place:
        return BufferedCaches(graph, context_length=context_length, sequences=sequences)
    return GrowingCaches(graph, sequences=sequences)


class BufferedCaches:
    """One buffer a cache tensor, with room for all: a run writes the new cells where they belong and copies nothing.

    Pages that were never written take no memory, and those of forgotten cells are given back.
    """

    def __init__(self, graph: OnnxGraph, *, context_length: int, sequences: int) -> None:
        self._caches = graph.caches
        self._lengths = [0] * sequences
        # One cell more than the context: a row that only fills a gap writes behind its end.
        self._pages = [
            Pages((sequences, cache.heads, context_length + 1, cache.head_size), graph.cache_type)
            for cache in graph.caches
        ]
        self._buffers: list[Tensor] = [pages.array for pages in self._pages]
        self._values: dict[tuple[int, int], list[OrtValue]] = {}

    def groups(self, sequences: Sequence[int]) -> list[list[int]]:
        """See `Caches`. Rows must be neighbours; it is cheaper to fill gaps than to run twice, where they are few."""
        ordered = sorted(sequences)
        together = len(ordered) * 2 >= ordered[-1] - ordered[0] + 1
        return [ordered] if together else [[sequence] for sequence in ordered]

    def begin(self, sequences: Sequence[int], new: int) -> Step:
        """See `Caches`."""
        first, last = min(sequences), max(sequences)
        rows = [row if row in sequences else None for row in range(first, last + 1)]
        starts = np.array(self._lengths[first : last + 1], np.int64)
        mask = (np.arange(starts.max() + new) < starts[:, None] + new).astype(np.int64)
        values = self._bound(first, last + 1)
        return Step(
            rows,
            starts,
            mask,
            {cache.past: value for cache, value in zip(self._caches, values, strict=True)},
            {cache.present: value for cache, value in zip(self._caches, values, strict=True)},
        )

    def end(self, step: Step, new: int, made: Mapping[str, OrtValue]) -> None:
        """See `Caches`."""
        del made
        for row in step.rows:
            if row is not None:
                self._lengths[row] += new

    def forget(self, sequence: int, start: int) -> None:
        """See `Caches`."""
        for pages in self._pages:
            _, heads, width, _ = pages.array.shape
            row, head, cell, _ = pages.array.strides
            begin = sequence * row
            if start == 0:
                pages.give_back(begin, begin + row)
                continue
            # Of the page where the used cells end, too, the rest is nobody's.
            used = min(self._lengths[sequence] * cell + mmap.PAGESIZE - 1, width * cell)
            for at in range(begin, begin + heads * head, head):
                pages.give_back(at + start * cell, at + used)
        self._lengths[sequence] = start

    def share(self, source: int, target: int, length: int) -> None:
        """See `Caches`."""
        for buffer in self._buffers:
            buffer[target, :, :length] = buffer[source, :, :length]
        self._lengths[target] = length

    def _bound(self, first: int, end: int) -> list[OrtValue]:
        from onnxruntime import OrtValue  # noqa: PLC0415  # an engine: the daemon starts without it

        if (first, end) not in self._values:
            # On a CPU the value is a view of the buffer.
            self._values[first, end] = [OrtValue.ortvalue_from_numpy(buffer[first:end]) for buffer in self._buffers]
        return self._values[first, end]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Cache tensors of several rows; nobody writes to them any more."""

    values: Mapping[str, OrtValue]
    rows: int
    width: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A sequence's cells: `length` columns of one row, from `first` on."""

    block: _Block
    row: int
    first: int
    length: int


class GrowingCaches:
    """A run takes the old caches and makes new ones that are longer; what it made is given to the next run as it is.

    Sequences that share a prefix look at the same tensors until one of them goes on. Sequences that are evaluated
    together are rows of one block, padded on the left; as long as the same ones go on together, nothing is copied
    but by the graph itself.
    """

    def __init__(self, graph: OnnxGraph, *, sequences: int) -> None:
        self._caches = graph.caches
        self._type = graph.cache_type
        # Several rows save reading the weights again, and cost reading padded caches more than once (measured:
        # no gain is left when the caches have half the size of the weights).
        self._most_cells = graph.weight_bytes // (2 * graph.cell_bytes)
        empty = _Block({cache.past: self._value(self._zeros(cache, 1, 0)) for cache in graph.caches}, 1, 0)
        self._nothing = _Place(empty, 0, 0, 0)
        self._places = [self._nothing] * sequences

    def groups(self, sequences: Sequence[int]) -> list[list[int]]:
        """See `Caches`. The shortest first, as many as are not too much padding."""
        ordered = sorted(sequences, key=lambda sequence: (self._places[sequence].length, sequence))
        together: list[int] = []
        for sequence in ordered:
            if (len(together) + 1) * self._places[sequence].length > self._most_cells:
                break
            together.append(sequence)
        alone = [[sequence] for sequence in ordered[len(together) :]]
        return [together, *alone] if together else alone

    def begin(self, sequences: Sequence[int], new: int) -> Step:
        """See `Caches`."""
        rows = sorted(sequences, key=lambda sequence: self._places[sequence].row)
        places = [self._places[sequence] for sequence in rows]
        if not _is_whole(places):
            rows = list(sequences)
            places = self._gathered([self._places[sequence] for sequence in rows])
            for sequence, place in zip(rows, places, strict=True):
                self._places[sequence] = place
        block = places[0].block
        firsts = np.array([place.first for place in places], np.int64)
        mask = (np.arange(block.width + new) >= firsts[:, None]).astype(np.int64)
        starts = np.array([place.length for place in places], np.int64)
        return Step(rows, starts, mask, block.values, {cache.present: None for cache in self._caches})

    def end(self, step: Step, new: int, made: Mapping[str, OrtValue]) -> None:
        """See `Caches`."""
        block = _Block({cache.past: made[cache.present] for cache in self._caches}, len(step.rows), step.mask.shape[1])
        for row, sequence in enumerate(step.rows):
            if sequence is not None:
                place = self._places[sequence]
                self._places[sequence] = _Place(block, row, place.first, place.length + new)
        self._let_go_of_the_rest()

    def forget(self, sequence: int, start: int) -> None:
        """See `Caches`."""
        place = self._places[sequence]
        self._places[sequence] = _Place(place.block, place.row, place.first, start) if start else self._nothing
        self._let_go_of_the_rest()

    def share(self, source: int, target: int, length: int) -> None:
        """See `Caches`."""
        place = self._places[source]
        if length:
            self._places[target] = _Place(place.block, place.row, place.first, length)

    def _let_go_of_the_rest(self) -> None:
        """Where some rows of a block belong to nobody any more, copy the others out of it."""
        for block in {id(place.block): place.block for place in self._places}.values():
            here = [sequence for sequence, place in enumerate(self._places) if place.block is block]
            rows = {self._places[sequence].row for sequence in here}
            if len(rows) < block.rows:
                copies = {
                    row: self._gathered([max(_at(self._places, here, row), key=lambda place: place.length)])[0]
                    for row in rows
                }
                for sequence in here:
                    place = self._places[sequence]
                    self._places[sequence] = _Place(copies[place.row].block, 0, 0, place.length)

    def _gathered(self, places: Sequence[_Place]) -> list[_Place]:
        """The same cells in a block of their own, which end together."""
        width = max(place.length for place in places)
        values = {}
        for cache in self._caches:
            made = self._zeros(cache, len(places), width)
            for row, place in enumerate(places):
                until = place.first + place.length
                # `numpy()` of a tensor on the CPU is a view of it.
                made[row, :, width - place.length :] = place.block.values[cache.past].numpy()[
                    place.row, :, place.first : until
                ]
            values[cache.past] = self._value(made)
        block = _Block(values, len(places), width)
        return [_Place(block, row, width - place.length, place.length) for row, place in enumerate(places)]

    def _zeros(self, cache: CacheShape, rows: int, cells: int) -> Tensor:
        return np.zeros((rows, cache.heads, cells, cache.head_size), self._type)

    def _value(self, made: Tensor) -> OrtValue:
        from onnxruntime import OrtValue  # noqa: PLC0415  # an engine: the daemon starts without it

        return OrtValue.ortvalue_from_numpy(made)


def _is_whole(places: Sequence[_Place]) -> bool:
    """Whether these are all rows of one block, in order, and all end where it ends."""
    block = places[0].block
    return len(places) == block.rows and all(
        place.block is block and place.row == row and place.first + place.length == block.width
        for row, place in enumerate(places)
    )


def _at(places: Sequence[_Place], sequences: Sequence[int], row: int) -> list[_Place]:
    return [places[sequence] for sequence in sequences if places[sequence].row == row]
