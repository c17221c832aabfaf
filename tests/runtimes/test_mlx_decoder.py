"""MLX as a decoder: small models made on the spot for what it must do and refuse, SmolLM2 for what it says."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.runtimes.decoders.decoder import NoRoomError, Span
from edge_agent.runtimes.decoders.mlx_decoder import MlxDecoder, open_mlx_decoder
from tests.model_files import MLX_LLM
from tests.runtimes.hf_folders import byte_level, write

mx = pytest.importorskip("mlx.core", reason="the mlx extra is not installed")

pytestmark = pytest.mark.slow

WEIGHTS = "model.safetensors"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 640,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}
GEMMA = LLAMA | {"model_type": "gemma3_text", "head_dim": 8, "sliding_window": 16, "sliding_window_pattern": 2}
MAMBA = {
    "model_type": "mamba",
    "vocab_size": 640,
    "hidden_size": 32,
    "intermediate_size": 64,
    "state_size": 8,
    "num_hidden_layers": 2,
    "conv_kernel": 4,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_rank": 4,
}
TEXT = list(range(10, 40))


def make(folder: Path, config: dict[str, Any], *, dtype: Any = None, bits: int | None = None) -> Path:
    """A model with random weights, and a tokenizer for it; the path of its weights."""
    nn, utils = importlib.import_module("mlx.nn"), importlib.import_module("mlx.utils")
    architecture = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    write(folder, byte_level())
    mx.random.seed(3)
    model = architecture.Model(architecture.ModelArgs.from_dict(config))
    if dtype is not None:
        model.set_dtype(dtype)
    if bits is not None:
        config = config | {"quantization": {"group_size": 32, "bits": bits}}
        nn.quantize(model, group_size=32, bits=bits)
    mx.save_safetensors(str(folder / WEIGHTS), dict(utils.tree_flatten(model.parameters())), {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": 2}))
    return folder / WEIGHTS


def opened(path: Path, *, context_length: int = 64, sequences: int = 4) -> MlxDecoder:
    return open_mlx_decoder(path, context_length=context_length, sequences=sequences)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("mlx") / "llama", LLAMA)


@pytest.fixture
def decoder(llama: Path) -> Iterator[MlxDecoder]:
    decoder = opened(llama)
    yield decoder
    decoder.close()


def read(decoder: MlxDecoder, sequence: int, tokens: Sequence[int], *, start: int = 0, wanted: int = 1) -> Any:
    return decoder.evaluate([Span(sequence, start, tokens, wanted)])[0]


def close_to(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, atol=1e-4))


def test_logits_are_those_of_the_model(llama: Path, decoder: MlxDecoder):
    model, _ = importlib.import_module("mlx_lm.utils").load_model(llama.parent)
    expected = np.array(model(mx.array([TEXT]))[0])
    found = read(decoder, 0, TEXT, wanted=5)
    assert (found.dtype, found.shape, found.flags.writeable) == (np.float32, (5, 640), True)
    assert close_to(found, expected[-5:])
    assert decoder.vocabulary.size == 640
    assert (decoder.context_length, decoder.cells, decoder.sequences) == (64, 64, 4)


def test_a_prompt_may_be_read_in_pieces_and_logits_may_be_unwanted(decoder: MlxDecoder):
    whole = read(decoder, 0, TEXT)
    assert read(decoder, 1, TEXT[:7], wanted=0).shape == (0, 640)
    assert read(decoder, 1, TEXT[7:12], start=7, wanted=5).shape == (5, 640)
    assert close_to(read(decoder, 1, TEXT[12:], start=12), whole)


def test_sequences_beside_each_other_do_not_mix(decoder: MlxDecoder):
    one, other = TEXT[:15], TEXT[15:28]
    alone = [read(decoder, sequence, tokens) for sequence, tokens in enumerate((one, other))]
    decoder.forget(0)
    decoder.forget(1)
    for at in range(12):
        decoder.evaluate([Span(0, at, one[at : at + 1], 1), Span(1, at, other[at : at + 1], 0)])
    beside = decoder.evaluate([Span(1, 12, other[12:], 1), Span(0, 12, one[12:], 1)])
    assert close_to(beside[0], alone[1])
    assert close_to(beside[1], alone[0])


def test_forgetting_goes_back_to_where_it_was(decoder: MlxDecoder):
    expected = read(decoder, 0, TEXT)
    assert decoder.forget(0, 10)
    read(decoder, 0, [600, 601, 602], start=10)
    assert decoder.forget(0, 10)
    assert close_to(read(decoder, 0, TEXT[10:], start=10), expected)
    assert decoder.forget(0)
    assert close_to(read(decoder, 0, TEXT), expected)
    assert decoder.forget(3)
    assert decoder.forget(0, 1000)
    assert close_to(read(decoder, 1, TEXT), expected)


def test_a_shared_beginning_stays_each_one_s_own(decoder: MlxDecoder):
    assert decoder.can_share_prefixes
    ours, theirs = [*TEXT[:20], 500, 501], [*TEXT[:20], 502, 503]
    expected = [read(decoder, 0, tokens) for tokens in (ours,)] + [read(decoder, 1, theirs)]
    decoder.forget(0)
    decoder.forget(1)
    read(decoder, 0, TEXT, wanted=0)
    decoder.share(0, 1, 20)
    decoder.share(0, 2, 20)
    assert decoder.forget(0, 20)
    found = decoder.evaluate([Span(0, 20, ours[20:], 1), Span(1, 20, theirs[20:], 1)])
    assert close_to(found[0], expected[0])
    assert close_to(found[1], expected[1])
    decoder.forget(0)
    decoder.forget(1, 5)
    assert close_to(read(decoder, 2, theirs[20:], start=20), expected[1])


def test_what_two_sequences_share_takes_room_once(decoder: MlxDecoder):
    many = [7] * 50
    read(decoder, 0, many)
    with pytest.raises(NoRoomError):
        read(decoder, 1, many[:15])
    assert decoder.forget(1)
    decoder.share(0, 1, 50)
    read(decoder, 1, [8] * 14, start=50)
    with pytest.raises(NoRoomError):
        read(decoder, 0, [9], start=50)
    decoder.forget(0)  # the cells are still the other's
    with pytest.raises(NoRoomError):
        read(decoder, 2, [9])
    decoder.forget(1, 60)
    read(decoder, 2, [9] * 4)


def test_where_there_is_no_room_nothing_has_changed(decoder: MlxDecoder):
    expected = read(decoder, 0, TEXT[:21])
    decoder.forget(0, 20)
    read(decoder, 1, [7] * 40)
    with pytest.raises(NoRoomError):
        decoder.evaluate([Span(0, 20, [30, 31, 32], 1), Span(1, 40, [7] * 5, 1)])
    assert close_to(read(decoder, 0, TEXT[20:21], start=20), expected)


def test_copies_of_a_shared_beginning_have_a_bound(decoder: MlxDecoder):
    read(decoder, 0, [7] * 40)
    for sequence in (1, 2, 3):
        decoder.share(0, sequence, 40)
    with pytest.raises(NoRoomError):
        read(decoder, 1, [8], start=40)
    decoder.forget(3)
    read(decoder, 1, [8], start=40)


@pytest.mark.parametrize(
    "span",
    [
        Span(0, 1, [5], 1),
        Span(0, 0, [], 0),
        Span(0, 0, [5], 2),
        Span(0, 0, [640], 1),
        Span(0, 0, [-1], 1),
        Span(0, 0, [5] * 65, 1),
        Span(4, 0, [5], 1),
        Span(-1, 0, [5], 1),
    ],
)
def test_what_native_code_would_trust_is_checked(decoder: MlxDecoder, span: Span):
    with pytest.raises(ValueError, match=r"span|tokens"):
        decoder.evaluate([span])
    with pytest.raises(ValueError, match="cannot share"):
        decoder.share(0, 1, 1)


@pytest.mark.parametrize("config", [GEMMA, MAMBA], ids=["window", "recurrent"])
def test_a_memory_that_cannot_be_cut_says_so(tmp_path: Path, config: dict[str, Any]):
    decoder = opened(make(tmp_path / "m", config))
    assert not decoder.can_share_prefixes
    whole = read(decoder, 0, TEXT)
    assert not decoder.forget(0, 10)
    read(decoder, 1, TEXT[:20], wanted=0)
    assert close_to(read(decoder, 1, TEXT[20:], start=20), whole)
    assert decoder.forget(0)
    assert close_to(read(decoder, 0, TEXT), whole)
    with pytest.raises(ValueError, match="cannot share"):
        decoder.share(0, 2, 5)


@pytest.mark.parametrize("kind", [{"dtype": "bfloat16"}, {"dtype": "float16"}, {"bits": 4}, {"bits": 8}])
def test_any_kind_of_weights_gives_plain_floats(tmp_path: Path, kind: dict[str, Any]):
    if "dtype" in kind:
        kind = {"dtype": getattr(mx, kind["dtype"])}
    decoder = opened(make(tmp_path / "m", LLAMA, **kind))
    found = read(decoder, 0, TEXT, wanted=2)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert decoder.embed(TEXT).dtype == np.float32


def test_an_embedding_is_the_mean_of_the_hidden_states(llama: Path, decoder: MlxDecoder):
    read(decoder, 0, TEXT[:5])
    model, _ = importlib.import_module("mlx_lm.utils").load_model(llama.parent)
    expected = np.array(model.model(mx.array([TEXT]))[0]).mean(axis=0)
    assert close_to(decoder.embed(TEXT), expected)
    assert decoder.embed([5] * 100).shape == (32,)
    read(decoder, 0, TEXT[5:6], start=5)


def test_a_model_without_hidden_states_gives_no_embedding(tmp_path: Path):
    decoder = opened(make(tmp_path / "m", MAMBA))
    with pytest.raises(InvalidRequest) as caught:
        decoder.embed(TEXT)
    assert caught.value.code == "unsupported_locally"


def test_one_thread_may_load_and_another_evaluate(llama: Path):
    with ThreadPoolExecutor(1) as loading, ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        decoder = loading.submit(opened, llama).result()
        found = first.submit(read, decoder, 0, TEXT[:20]).result()
        assert close_to(found, second.submit(read, decoder, 1, TEXT[:20]).result())
        second.submit(read, decoder, 0, TEXT[20:], start=20).result()


def test_the_context_is_no_longer_than_the_model_s(llama: Path):
    assert opened(llama, context_length=1000).context_length == 128


def refused(path: Path, code: str, match: str) -> None:
    with pytest.raises(Broken, match=match) as caught:
        opened(path)
    assert caught.value.code == code
    assert "edge-agent models verify" in caught.value.hint


def changed(path: Path, **values: object) -> Path:
    config = path.parent / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))
    return path


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in llama.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / WEIGHTS


def test_a_program_that_the_model_brings_is_never_run(copy: Path, tmp_path: Path):
    (copy.parent / "mine.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    refused(changed(copy, model_file="mine.py"), "model_unreadable", "program of the model's own")
    refused(changed(copy, model_file=None, text_config={"model_file": "mine.py"}), "model_unreadable", "program")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"model_type": "../../x"}, "names no architecture"),
        ({"model_type": "llama.os"}, "names no architecture"),
        ({"model_type": None}, "names no architecture"),
        ({"model_type": "no_such_model"}, "does not know the architecture no_such_model"),
        ({"num_hidden_layers": 10**9}, "senseless num_hidden_layers"),
        ({"hidden_size": 10**9}, "senseless hidden_size"),
        ({"hidden_size": 48}, "could not be read by MLX"),
        ({"vocab_size": 10**12}, "senseless vocab_size"),
        ({"hidden_size": "many"}, "senseless hidden_size"),
        ({"num_hidden_layers": 3}, "could not be read by MLX"),
        ({"quantization": {"bits": 8}}, "could not be read by MLX"),
    ],
)
def test_a_config_that_lies_is_refused(copy: Path, values: dict[str, object], match: str):
    refused(changed(copy, **values), "model_unreadable", match)


@pytest.mark.parametrize("name", ["../{other}", "{absolute}", "sub/model.safetensors", "gone.safetensors", 7])
def test_an_index_stays_in_its_folder(copy: Path, name: object):
    outside = copy.parent.parent / "outside.safetensors"
    outside.write_bytes(copy.read_bytes())
    (copy.parent / "sub").mkdir()
    (copy.parent / "sub" / WEIGHTS).write_bytes(copy.read_bytes())
    if isinstance(name, str):
        name = name.format(other=outside.name, absolute=outside)
    (copy.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    refused(copy, "model_unreadable", "index")


def test_weights_are_no_links_out_of_the_folder(copy: Path):
    outside = copy.parent.parent / "outside.safetensors"
    copy.rename(outside)
    copy.symlink_to(outside)
    refused(copy, "model_unreadable", "a link that leads out of its folder")
    copy.unlink()
    outside.rename(copy)
    (copy.parent / "model-more.safetensors").symlink_to("/dev/zero")
    refused(copy, "model_unreadable", "a link that leads out of its folder")


def weights(header: bytes, *, length: int | None = None, body: int = 16) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + bytes(body)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "model_truncated"),
        (b"1234567", "model_truncated"),
        (weights(b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}', body=15), "model_truncated"),
        (weights(b'{"w": {"dtype": "F32", "shape": [400], "data_offsets": [0, 1600]}}'), "model_truncated"),
        (weights(b"{}", length=1 << 62), "model_unreadable"),
        (weights(b"{}", length=1 << 30), "model_unreadable"),
        (weights(b'{"w": '), "model_unreadable"),
        (weights(b'{"w": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}'), "model_unreadable"),
        (weights(b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}'), "model_unreadable"),
        (weights(b'{"w": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}'), "model_unreadable"),
        (
            weights(b'{"w": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 16]}}'),
            "model_unreadable",
        ),
        (weights(b'{"w": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}'), "model_unreadable"),
    ],
)
def test_weights_that_lie_about_their_size_never_reach_mlx(copy: Path, content: bytes, code: str):
    copy.write_bytes(content)
    refused(copy, code, r"model\.safetensors")


def test_a_download_that_stopped_is_called_cut_short(copy: Path):
    with copy.open("r+b") as file:
        file.truncate(copy.stat().st_size - 100)
    refused(copy, "model_truncated", "cut short")


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_file_that_is_not_there_is_named(copy: Path, name: str):
    (copy.parent / name).unlink()
    refused(copy, "model_file_missing", name)


def test_without_mlx_the_extra_is_named(llama: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "sys.modules['mlx_lm'] = None\n"  # what an import of something not installed meets
        "from cloud_bridge.protocol.problems import Unavailable\n"
        "from edge_agent.runtimes.decoders.mlx_decoder import open_mlx_decoder\n"
        "assert 'mlx' not in sys.modules\n"
        "try: open_mlx_decoder(Path(sys.argv[1]), context_length=64, sequences=1)\n"
        "except Unavailable as problem: print(problem.code, problem.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(llama)], capture_output=True, text=True, check=True)
    assert done.stdout == "extra_missing Install the extra: pip install 'edge-agent[mlx]'\n"


@pytest.fixture(scope="module")
def smollm2(converted_models: Path) -> Iterator[MlxDecoder]:
    decoder = open_mlx_decoder(converted_models / MLX_LLM / WEIGHTS, context_length=256, sequences=2)
    yield decoder
    decoder.close()


def greedy(decoder: MlxDecoder, sequence: int, prompt: Sequence[int], length: int) -> list[int]:
    tokens = list(prompt)
    known = 0
    while len(tokens) < len(prompt) + length:
        logits = read(decoder, sequence, tokens[known:], start=known)
        known = len(tokens)
        tokens.append(int(logits[0].argmax()))
    return tokens[len(prompt) :]


def test_smollm2_says_what_mlx_lm_s_own_loop_says(smollm2: MlxDecoder):
    generate_step = importlib.import_module("mlx_lm.generate").generate_step
    vocabulary = smollm2.vocabulary
    prompt = vocabulary.tokenize("The capital of France is", add_special=False, parse_special=False)
    steps = generate_step(mx.array(prompt), smollm2._model, max_tokens=8)
    expected = [int(token) for token, _ in islice(steps, 8)]
    assert greedy(smollm2, 0, prompt, 8) == expected
    assert b" Paris" in b"".join(map(vocabulary.piece, expected))
