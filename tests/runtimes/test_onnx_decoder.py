"""ONNX Runtime as a decoder: on two hand-made graphs that are exact, and on SmolLM2 as `edge-quantize` makes it."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.runtimes.decoders.decoder import Logits, NoRoomError, Span
from edge_agent.runtimes.decoders.onnx_caches import BufferedCaches, Tensor
from edge_agent.runtimes.decoders.onnx_decoder import OnnxDecoder, open_onnx_decoder
from edge_agent.runtimes.decoders.onnx_graph import open_graph
from tests.model_files import ONNX_LLM
from tests.runtimes.onnx_models import CONTEXT, VOCABULARY, adder, tensor, write_decoder

SEQUENCES = 4
TEXTS = ("The capital of France is", "def add(a, b):\n    return", "1, 2, 3, 4, 5, 6,", "Once upon a time, there was")


def exact(actual: Logits, expected: Logits) -> None:
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.fixture(params=["grouped", "plain"])
def decoder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnnxDecoder]:
    path = write_decoder(tmp_path, grouped=request.param == "grouped")
    opened = open_onnx_decoder(path, context_length=CONTEXT, sequences=SEQUENCES, threads=1)
    yield opened
    opened.close()


def read(decoder: OnnxDecoder, sequence: int, tokens: Sequence[int], start: int = 0) -> Logits:
    return decoder.evaluate([Span(sequence, start, tokens, len(tokens))])[0]


def anew(decoder: OnnxDecoder, tokens: Sequence[int]) -> Logits:
    """What the tokens give in a sequence that knows nothing else, which is the last one."""
    decoder.forget(SEQUENCES - 1)
    logits = read(decoder, SEQUENCES - 1, tokens)
    decoder.forget(SEQUENCES - 1)
    return logits


def tokens_of(seed: int, length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, VOCABULARY, length)]


def test_a_decoder_says_what_it_is(decoder: OnnxDecoder) -> None:
    assert (decoder.context_length, decoder.cells, decoder.sequences) == (CONTEXT, CONTEXT, SEQUENCES)
    assert decoder.can_share_prefixes
    assert decoder.vocabulary.size == VOCABULARY
    assert list(decoder.vocabulary.end_tokens) == [1, 2]


def test_the_context_is_the_models_where_more_was_asked_for(tmp_path: Path) -> None:
    path = write_decoder(tmp_path, grouped=True)
    assert open_onnx_decoder(path, context_length=10_000, sequences=1, threads=1).context_length == CONTEXT


def test_tokens_one_by_one_give_what_they_give_at_once(decoder: OnnxDecoder) -> None:
    tokens = tokens_of(1, 12)
    one_by_one = [read(decoder, 0, [token], start)[0] for start, token in enumerate(tokens)]
    exact(np.array(one_by_one), anew(decoder, tokens))


@pytest.mark.parametrize("wanted", [0, 1, 3, 12])
def test_logits_are_those_of_the_last_wanted_tokens(decoder: OnnxDecoder, wanted: int) -> None:
    tokens = tokens_of(2, 12)
    (logits,) = decoder.evaluate([Span(0, 0, tokens, wanted)])
    assert logits.shape == (wanted, VOCABULARY)
    assert logits.dtype == np.float32
    assert logits.flags.writeable
    exact(logits, anew(decoder, tokens)[len(tokens) - wanted :])


def test_a_shared_beginning_gives_what_reading_it_again_gives(decoder: OnnxDecoder) -> None:
    tokens = tokens_of(3, 10)
    read(decoder, 0, tokens)
    decoder.share(0, 2, 6)
    exact(read(decoder, 2, tokens_of(4, 5), 6), anew(decoder, tokens[:6] + tokens_of(4, 5))[6:])
    # The one that gave goes on as if nothing had been.
    exact(read(decoder, 0, [7], 10), anew(decoder, [*tokens, 7])[10:])


def test_what_was_shared_outlives_the_one_that_had_it(decoder: OnnxDecoder) -> None:
    tokens = tokens_of(5, 8)
    read(decoder, 0, tokens)
    decoder.share(0, 1, 8)
    decoder.forget(0)
    read(decoder, 0, tokens_of(6, 8))
    exact(read(decoder, 1, [3], 8), anew(decoder, [*tokens, 3])[8:])


def test_forgetting_the_end_and_going_on_is_as_if_it_had_never_been(decoder: OnnxDecoder) -> None:
    tokens = tokens_of(7, 10)
    read(decoder, 0, tokens)
    assert decoder.forget(0, 4)
    exact(read(decoder, 0, [9, 8], 4), anew(decoder, [*tokens[:4], 9, 8])[4:])
    assert decoder.forget(0)
    exact(read(decoder, 0, [5, 6]), anew(decoder, [5, 6]))


def test_forgetting_what_is_not_there_does_nothing(decoder: OnnxDecoder) -> None:
    read(decoder, 0, [1, 2, 3])
    assert decoder.forget(0, 3)
    assert decoder.forget(1)
    exact(read(decoder, 0, [4], 3), anew(decoder, [1, 2, 3, 4])[3:])


def test_a_step_carries_prompts_and_answers_of_several_sequences(decoder: OnnxDecoder) -> None:
    histories = {0: tokens_of(8, 9), 1: tokens_of(9, 2)}
    for sequence, tokens in histories.items():
        read(decoder, sequence, tokens)
    found = decoder.evaluate([Span(1, 2, [3], 1), Span(2, 0, [4, 5, 6], 2), Span(0, 9, [7], 1)])
    exact(found[0], anew(decoder, [*histories[1], 3])[-1:])
    exact(found[1], anew(decoder, [4, 5, 6])[-2:])
    exact(found[2], anew(decoder, [*histories[0], 7])[-1:])


HEADS, CELLS = 3, 300


@pytest.fixture
def caches(tmp_path: Path) -> BufferedCaches:
    """Of two sequences, whose cells of 256 bytes begin and end within pages."""
    graph = open_graph(write_decoder(tmp_path, grouped=True), threads=1)
    larger = tuple(replace(cache, heads=HEADS, head_size=64) for cache in graph.caches)
    return BufferedCaches(replace(graph, caches=larger), context_length=CELLS, sequences=2)


def memory(caches: BufferedCaches, sequence: int) -> Tensor:
    """The memory itself that a run would be given: (keys and values, heads, cells, head_size)."""
    step = caches.begin([sequence], 1)
    return np.array([value.numpy()[0, :, :CELLS] for value in step.inputs.values()])


def fill(caches: BufferedCaches, sequence: int) -> None:
    step = caches.begin([sequence], CELLS)
    for value in step.inputs.values():
        value.numpy()[0, :, :CELLS] = 1
    caches.end(step, CELLS, {})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system takes pages back when it needs them")
@pytest.mark.parametrize("start", [0, 1, 17, 150, CELLS - 1])
def test_the_memory_of_what_was_forgotten_is_given_back(caches: BufferedCaches, start: int) -> None:
    for sequence in (0, 1):
        fill(caches, sequence)
    # Each piece that is given back begins and ends within a page, and those two pages stay.
    pieces = memory(caches, 0).shape[0] * (HEADS if start else 1)
    for sequence in (0, 1):
        caches.forget(sequence, start)
        found = memory(caches, sequence)
        assert found[:, :, :start].all()
        assert np.count_nonzero(found[:, :, start:]) * 4 <= 2 * pieces * mmap.PAGESIZE
        assert memory(caches, 1)[:, :, : start if sequence else CELLS].all()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sets(st.integers(0, SEQUENCES - 2), min_size=1)),
        st.tuples(st.just("read"), st.integers(0, SEQUENCES - 2), st.integers(2, 6)),
        st.tuples(st.just("forget"), st.integers(0, SEQUENCES - 2), st.integers(0, 4)),
        st.tuples(st.just("share"), st.integers(0, SEQUENCES - 2), st.integers(0, SEQUENCES - 2)),
    ),
    max_size=14,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_sequences_never_mix_whatever_is_done_to_them(decoder: OnnxDecoder, steps: list[tuple]) -> None:
    """Every evaluation gives what the sequence's tokens give when they are read alone."""
    kept: list[list[int]] = [[] for _ in range(SEQUENCES - 1)]
    for sequence in range(SEQUENCES):
        decoder.forget(sequence)
    for number, step in enumerate(steps):
        added: dict[int, list[int]] = {}
        match step:
            case ("write", sequences):
                added = {sequence: tokens_of(number + sequence, 1) for sequence in sequences}
            case ("read", sequence, length):
                added = {sequence: tokens_of(number, length)}
            case ("forget", sequence, start):
                decoder.forget(sequence, start)
                del kept[sequence][start:]
            case ("share", source, target) if not kept[target]:
                kept[target] = kept[source][:-1]
                decoder.share(source, target, len(kept[target]))
        room = CONTEXT - max(map(len, kept))
        if not added or sum(map(len, kept)) + sum(map(len, added.values())) > room:
            continue
        found = decoder.evaluate([Span(key, len(kept[key]), new, 1) for key, new in added.items()])
        for (sequence, new), logits in zip(added.items(), found, strict=True):
            kept[sequence] += new
            exact(logits, anew(decoder, kept[sequence])[-1:])


def test_what_does_not_fit_changes_nothing(decoder: OnnxDecoder) -> None:
    first, second = tokens_of(10, 40), tokens_of(11, 20)
    read(decoder, 0, first)
    read(decoder, 1, second)
    with pytest.raises(NoRoomError):
        decoder.evaluate([Span(0, 40, [1, 2], 1), Span(1, 20, [1, 2, 3], 1)])
    two = decoder.evaluate([Span(0, 40, [1, 2], 1), Span(1, 20, [3, 4], 1)])
    for sequence in (0, 1):
        decoder.forget(sequence)
    exact(two[0], anew(decoder, [*first, 1, 2])[-1:])
    exact(two[1], anew(decoder, [*second, 3, 4])[-1:])


def test_shared_cells_count_once(decoder: OnnxDecoder) -> None:
    read(decoder, 0, tokens_of(12, 50))
    decoder.share(0, 1, 50)
    read(decoder, 1, tokens_of(13, CONTEXT - 50), 50)
    with pytest.raises(NoRoomError):
        read(decoder, 0, [1], 50)
    decoder.forget(1)
    read(decoder, 0, [1], 50)


def test_copies_of_a_beginning_have_a_bound(decoder: OnnxDecoder) -> None:
    read(decoder, 0, tokens_of(14, 50))
    for target in (1, 2):
        decoder.share(0, target, 50)
    with pytest.raises(NoRoomError):
        read(decoder, 2, [1], 50)


def test_one_sequence_may_fill_the_context_and_no_more(decoder: OnnxDecoder) -> None:
    read(decoder, 0, tokens_of(15, CONTEXT - 1))
    read(decoder, 0, [1], CONTEXT - 1)
    with pytest.raises(ValueError, match="longer than the context"):
        read(decoder, 0, [1], CONTEXT)


@pytest.mark.parametrize(
    "span",
    [
        Span(0, 1, [1], 1),
        Span(0, 0, [], 0),
        Span(0, 0, [1], 2),
        Span(0, 0, [-1], 1),
        Span(0, 0, [VOCABULARY], 1),
        Span(SEQUENCES, 0, [1], 1),
        Span(-1, 0, [1], 1),
    ],
)
def test_native_code_is_never_given_what_it_would_trust(decoder: OnnxDecoder, span: Span) -> None:
    with pytest.raises(ValueError, match="span"):
        decoder.evaluate([span])
    with pytest.raises(ValueError, match="one sequence"):
        decoder.evaluate([Span(0, 0, [1], 1), Span(0, 0, [1], 1)])
    read(decoder, 0, [1])


def test_a_language_model_gives_no_embeddings(decoder: OnnxDecoder) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoder.embed([1, 2])
    assert caught.value.code == "unsupported_locally"


def test_caches_may_have_half_precision(tmp_path: Path) -> None:
    whole, half = (
        open_onnx_decoder(
            write_decoder(tmp_path / name, grouped=True, cache=kind), context_length=32, sequences=2, threads=1
        )
        for name, kind in (("whole", np.float32), ("half", np.float16))
    )
    tokens = tokens_of(16, 8)
    assert read(half, 0, tokens).dtype == np.float32
    np.testing.assert_allclose(read(half, 1, tokens), read(whole, 0, tokens), atol=0.1)


def refusal(path: Path) -> Broken:
    with pytest.raises(Broken) as caught:
        open_onnx_decoder(path, context_length=32, sequences=1, threads=1)
    assert caught.value.code == "model_unreadable"
    assert str(path.parent) not in str(caught.value)
    return caught.value


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_decoder(tmp_path, grouped=True)
    path.write_bytes(adder(tensor("w", np.zeros(4, np.float32))))
    assert "not a language model" in refusal(path).message


def test_a_graph_that_the_library_refuses_is_a_clear_error(tmp_path: Path) -> None:
    path = write_decoder(tmp_path, grouped=True)
    path.write_bytes(path.read_bytes().replace(b"GroupQueryAttention", b"GroupQueryAttentioN"))
    assert "ONNX Runtime" in refusal(path).message


def test_sizes_that_nobody_states_are_not_guessed(tmp_path: Path) -> None:
    path = write_decoder(tmp_path, grouped=True)
    (tmp_path / "config.json").write_text('{"head_dim": true, "hidden_size": -16}', "utf-8")
    assert "config.json" in refusal(path).message


@pytest.fixture(scope="module")
def smollm2(converted_models: Path) -> Iterator[OnnxDecoder]:
    path = converted_models / ONNX_LLM / "model.onnx"
    opened = open_onnx_decoder(path, context_length=2048, sequences=SEQUENCES, threads=2)
    yield opened
    opened.close()


@pytest.fixture
def model(smollm2: OnnxDecoder) -> OnnxDecoder:
    for sequence in range(SEQUENCES):
        smollm2.forget(sequence)
    return smollm2


def plain(model: OnnxDecoder, text: str) -> list[int]:
    return model.vocabulary.tokenize(text, add_special=True, parse_special=True)


def agree(one: Logits, other: Logits) -> None:
    """Activations of 8 bits make every other order of the same sums visible; those of another text differ by far."""
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98


@pytest.mark.slow
def test_greedy_continuation_is_that_of_the_whole_text_read_at_once(model: OnnxDecoder) -> None:
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    tokens = plain(model, asked)
    prompt = len(tokens)
    logits = model.evaluate([Span(0, 0, tokens, 1)])[0]
    for _ in range(8):
        tokens.append(int(logits[-1].argmax()))
        logits = read(model, 0, tokens[-1:], len(tokens) - 1)
    assert b"Paris" in b"".join(model.vocabulary.piece(token) for token in tokens[prompt:])
    whole = read(model, 1, tokens)
    assert [int(row.argmax()) for row in whole[prompt - 1 : -1]] == tokens[prompt:]


@pytest.mark.slow
def test_sharing_and_forgetting_leave_the_same_logits(model: OnnxDecoder) -> None:
    first, rest = plain(model, "The quick brown fox jumps over"), plain(model, " the lazy dog")
    read(model, 0, first)
    expected = read(model, 0, rest, len(first))
    model.share(0, 1, len(first))
    np.testing.assert_array_equal(read(model, 1, rest, len(first)), expected)
    model.forget(0, len(first))
    np.testing.assert_array_equal(read(model, 0, rest, len(first)), expected)


@pytest.mark.slow
def test_answers_that_are_written_together_are_those_written_alone(model: OnnxDecoder) -> None:
    prompts = [plain(model, text) for text in TEXTS]
    alone = []
    for sequence, tokens in enumerate(prompts):
        model.evaluate([Span(sequence, 0, tokens[:-1], 0)])
        alone.append(read(model, sequence, tokens[-1:], len(tokens) - 1))
        model.forget(sequence)
    model.evaluate([Span(sequence, 0, tokens[:-1], 0) for sequence, tokens in enumerate(prompts)])
    spans = [Span(sequence, len(tokens) - 1, tokens[-1:], 1) for sequence, tokens in enumerate(prompts)]
    for together, single in zip(model.evaluate(spans), alone, strict=True):
        agree(together, single)


@pytest.mark.slow
def test_a_prompt_of_several_pieces_is_read_as_one(model: OnnxDecoder) -> None:
    tokens = plain(model, "one two three four five six seven eight nine ten " * 30)
    at_once = model.evaluate([Span(0, 0, tokens, 2)])[0]
    model.evaluate([Span(1, 0, tokens[:100], 0)])
    in_steps = model.evaluate([Span(1, 100, tokens[100:], 2)])[0]
    assert at_once.shape == in_steps.shape == (2, model.vocabulary.size)
    agree(at_once, in_steps)
