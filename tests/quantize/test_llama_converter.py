"""A folder in Hugging Face form to GGUF with llama.cpp's own converter, and PEFT adapters."""

from __future__ import annotations

import importlib.metadata
import io
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Unavailable
from edge_agent.models.formats.safetensors_header import StoredTensor
from edge_agent.models.progress import SILENT
from quantize import export_environment
from quantize.gguf import llama_converter
from quantize.gguf.llama_converter import lora_to_gguf, lossless_type, to_gguf
from quantize.onnx import to_onnx
from quantize.sources import source
from tests.models.toys import Recorder

ROOT = Path(__file__).parents[2]
TEXTS = (
    "hello world 12345 and 3.14159",
    "a  b   c\n\n\t tab, don't we'll",
    "<|im_start|>user\nhi<|im_end|>\n",
    "Ünïcode — 你好 🙂",
    "  leading spaces x1y22z333",
)


def test_the_pinned_source_distribution_is_that_of_the_library_we_run() -> None:
    lock = (ROOT / "requirements" / "run.txt").read_text()
    locked = re.search(r"^llama-cpp-python==(\S+) \\\n    --hash=sha256:(\w+)", lock, re.MULTILINE)
    assert locked is not None
    assert locked.groups() == (llama_converter.VERSION, llama_converter.SDIST_SHA256)
    assert importlib.metadata.version("llama-cpp-python") == llama_converter.VERSION


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [("BF16 BF16", "bf16"), ("F16", "f16"), ("F16 BF16", "f32"), ("F32 BF16", "f32"), ("I32", "f32"), ("", "f32")],
)
def test_the_type_in_between_loses_nothing(dtypes: str, expected: str) -> None:
    matrices = [StoredTensor(dtype, (2, 2), 0, 0) for dtype in dtypes.split()]
    assert lossless_type([*matrices, StoredTensor("F32", (2,), 0, 0)]) == expected


def _sdist(path: Path, members: dict[str, bytes], *, link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link is not None:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return path


INSIDE = "llama_cpp_python-1.0/vendor/llama.cpp"
CONVERTERS = {
    f"{INSIDE}/{name}": b"# converts"
    for name in (
        "convert_hf_to_gguf.py",
        "convert_lora_to_gguf.py",
        "conversion/__init__.py",
        "gguf-py/gguf/__init__.py",
    )
}


def test_only_the_converters_are_taken_out_of_the_source_distribution(tmp_path: Path) -> None:
    hostile = {
        f"{INSIDE}/conversion/../../../../evil.py": b"",
        "../evil.py": b"",
        "/evil.py": b"",
        f"{INSIDE}/conversion/huge.py": bytes(5 << 20),
        f"{INSIDE}/src/llama.cpp": b"",
        "llama_cpp_python-1.0/setup.py": b"",
    }
    sdist = _sdist(tmp_path / "s.tar.gz", {**hostile, **CONVERTERS}, link=f"{INSIDE}/conversion/link.py")
    llama_converter.unpack(sdist, tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.py")}
    assert found == {name.removeprefix(f"{INSIDE}/") for name in CONVERTERS}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s.tar.gz"]


def test_a_source_distribution_without_them_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.tar.gz").write_bytes(_sdist(tmp_path / "s.tar.gz", CONVERTERS).read_bytes()[:100])
    for name, members in (("s.tar.gz", dict(list(CONVERTERS.items())[1:])), ("cut.tar.gz", {})):
        sdist = _sdist(tmp_path / name, members) if members else tmp_path / name
        with pytest.raises(Broken) as caught:
            llama_converter.unpack(sdist, tmp_path / f"out-{name}")
        assert caught.value.code == "converter_damaged"


def test_pip_runs_no_file_of_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present folder may be a stranger's model."""
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    export_environment.pip(Path(sys.executable), "--version", scratch=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pip.py"]


@pytest.fixture(scope="session")
def converter() -> Path:
    """The converters, fetched now if they must be."""
    try:
        return llama_converter.converter(SILENT)
    except Unavailable as problem:
        pytest.skip(f"no torch for this Python here: {problem.message}")


@pytest.fixture(scope="module")
def folder(converter: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 in the form that its makers publish, with the numbers of the GGUF."""
    made = tmp_path_factory.mktemp("folder") / "SmolLM2-135M-Instruct"
    to_onnx.dequantize(source.find(str(smollm2)), made, SILENT)
    (made / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return made


@pytest.fixture(scope="module")
def gguf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model after the round trip."""
    target = tmp_path_factory.mktemp("gguf") / "smollm2-f32.gguf"
    shown = Recorder()
    facts = to_gguf(source.find(str(folder)), target, shown)
    assert (facts["type"], facts["parameters"], facts["notes"]) == ("F32", 134515008, [])
    assert facts["tools"]["llama.cpp converter"] == llama_converter.VERSION
    assert list(target.parent.iterdir()) == [target]
    done = [step for step in shown.seen if step[2] == "writing"]
    assert done == sorted(done)
    assert done[-1][0] == done[-1][1] > 500_000_000
    return target


def _model(path: Path, **options: Any) -> llama_cpp.Llama:
    return llama_cpp.Llama(str(path), n_ctx=64, verbose=False, seed=1, **options)


def _answer(model: llama_cpp.Llama) -> str:
    """Short: llama.cpp computes with Q4_1 and with 32 bits differently, and soon another word comes out."""
    return str(model.create_completion("The capital of France is", max_tokens=2, temperature=0)["choices"][0]["text"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_that_went_to_a_folder_and_back_reads_and_answers_as_before(smollm2: Path, gguf: Path) -> None:
    before, after = _model(smollm2), _model(gguf)
    try:
        for text in TEXTS:
            for special in (True, False):
                tokens = [model.tokenize(text.encode(), add_bos=special, special=special) for model in (before, after)]
                assert tokens[0] == tokens[1]
        assert _answer(before) == _answer(after) == " Paris."
        for key in (
            "tokenizer.chat_template",
            "tokenizer.ggml.eos_token_id",
            "general.license",
            "llama.context_length",
        ):
            assert before.metadata[key] == after.metadata[key]
    finally:
        before.close()
        after.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_number_is_lost(folder: Path, gguf: Path) -> None:
    with (folder / "model.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(length))["model.layers.7.mlp.up_proj.weight"]["data_offsets"]
        file.seek(8 + length + begin)
        matrix = file.read(end - begin)
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        assert whole.find(matrix) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_adapter_of_peft_becomes_one_of_llama_cpp(gguf: Path, folder: Path, tmp_path: Path) -> None:
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    adapter.mkdir()
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):  # the base's weights are not needed
        shutil.copy(folder / name, base)
    weights = _write_adapter(adapter)
    target = tmp_path / "adapter.gguf"
    facts = lora_to_gguf(adapter, base, target, SILENT)
    assert facts["tools"]["llama.cpp converter"] == llama_converter.VERSION
    written = target.read_bytes()
    assert all(matrix.tobytes() in written for matrix in weights)
    plain, adapted = _model(gguf), _model(gguf, lora_path=str(target))
    try:
        assert _answer(plain) != _answer(adapted)
    finally:
        plain.close()
        adapted.close()


def _write_adapter(folder: Path, rank: int = 4) -> list[np.ndarray]:
    """One that changes the values of the first three layers; its matrices."""
    random = np.random.default_rng(7)
    header: dict[str, Any] = {}
    matrices: list[np.ndarray] = []
    at = 0
    for layer in range(3):
        for side, shape in (("A", (rank, 576)), ("B", (192, rank))):
            matrix = random.normal(size=shape).astype(np.float32)
            name = f"base_model.model.model.layers.{layer}.self_attn.v_proj.lora_{side}.weight"
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + matrix.nbytes]}
            at += matrix.nbytes
            matrices.append(matrix)
    text = json.dumps(header).encode()
    data = b"".join(matrix.tobytes() for matrix in matrices)
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "base_model_name_or_path": "someone/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return matrices


def test_a_folder_that_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"adapter_config\.json, no adapter_model\.safetensors") as caught:
        lora_to_gguf(tmp_path, tmp_path, tmp_path / "a.gguf", SILENT)
    assert caught.value.code == "not_an_adapter"


TOKENIZER = {
    "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
    "decoder": None, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
}  # fmt: skip


def _tiny(folder: Path, config: dict[str, Any]) -> source.Source:
    """A folder whose outside is sound, with one small matrix."""
    folder.mkdir()
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 256]}})
    weights = len(header).to_bytes(8, "little") + header.encode() + bytes(256)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"model": {"type": "Odd"}}')
    return source.find(str(folder))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("converter")
def test_what_llama_cpp_does_not_know_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    odd = _tiny(tmp_path / "odd", {"architectures": ["OddForImageTalk"], "model_type": "odd"})
    with pytest.raises(InvalidRequest, match="OddForImageTalk") as caught:
        to_gguf(odd, tmp_path / "odd.gguf", SILENT)
    assert caught.value.code == "unsupported_architecture"
    assert "--to mlx" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("converter")
def test_python_code_of_the_source_is_never_run(tmp_path: Path) -> None:
    config = {
        "architectures": ["QWenLMHeadModel"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 8,
        "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    }  # fmt: skip
    tiny = _tiny(tmp_path / "tiny", config)
    (tiny.path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (tiny.path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tiny.path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}')
    with pytest.raises(InvalidRequest):
        to_gguf(tiny, tmp_path / "tiny.gguf", SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("converter")
def test_converters_that_cannot_be_had_are_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "venv-export"
    venv.create(home, with_pip=True)
    shutil.copy(export_environment.place() / "made-from", home)
    there = sorted(home.iterdir())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing-here"))
    with pytest.raises(Unavailable) as caught:
        llama_converter.converter(SILENT, home)
    assert caught.value.code == "converter_unavailable"
    assert "PIP_FIND_LINKS" in caught.value.hint
    assert sorted(home.iterdir()) == there


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for another process")
def test_a_stop_half_way_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    program = (
        "import signal, sys; from pathlib import Path; from quantize.gguf import llama_converter\n"
        "from quantize.sources import source\n"
        "from edge_agent.models.progress import SILENT\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "llama_converter.to_gguf(source.find(sys.argv[1]), Path(sys.argv[2]) / 'm.gguf', SILENT)\n"
    )
    command = [sys.executable, "-P", "-c", program, str(folder), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".gguf-*/m.gguf")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(tmp_path.glob(".gguf-*/m.gguf"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != 0
    assert list(tmp_path.iterdir()) == []
