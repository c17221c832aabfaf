"""Adapters: each request with its own, on one process of the model, and nothing of one in another's answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, NotFound, Problem
from edge_agent.local_models import LocalModels
from edge_agent.models import lora
from edge_agent.models.catalog import Catalog
from edge_agent.models.locks.in_use import unused
from edge_agent.models.lora.pairs import Pairs
from edge_agent.models.store import ModelStore
from edge_agent.runtimes.engine.slots import Slot, place
from edge_agent.runtimes.engine.turns import STEPS
from edge_agent.runtimes.runtime import AdapterSpec
from tests.daemon.running_daemon import daemon
from tests.models.toys import make_here
from tests.runtimes.asking import SMALL, Answer, answer, asking, model_file, running, spec
from tests.runtimes.lora_files import SAYS, ahoy, facts, gguf_adapter, gguf_tensors, mlx_adapter
from tests.runtimes.scripted_decoder import ScriptedDecoder
from tests.runtimes.staged_pool import Stage
from tests.runtimes.test_engine import Run

pytestmark = pytest.mark.anyio

QUESTION = "What is the capital of France?"
STORY = "Tell me a long story about a fox."
MLX = "smollm2-135m-instruct-mlx-8bit"
LORA = {"adapter": {"rank": 2, "scale": 2.0, "architecture": "llama"}}


def install(root: Path, adapter_id: str = "ahoy-lora", content: bytes | None = None) -> Path:
    """The adapter among the models of `root`, as a GGUF; its folder."""
    if content is None:
        content = gguf_adapter(root / ".scratch.gguf").read_bytes()
        (root / ".scratch.gguf").unlink()
    files = {f"{adapter_id}.gguf": content}
    return make_here(root, adapter_id, files, kind="adapter", context_length=None, **LORA)


@pytest.fixture
def root(tmp_path: Path, models_home: Path) -> Path:
    """A models folder with SmolLM2 and an adapter for it."""
    models = tmp_path / "models"
    shutil.copytree(models_home / SMALL, models / SMALL, copy_function=os.link)
    install(models)
    return models


def local_models(root: Path, **settings: Any) -> LocalModels:
    return LocalModels(ModelStore(root, Catalog.load()), **{"default": "auto", "ram_budget_mb": 2000, **settings})


# The engine


def test_those_who_want_different_adapters_take_turns():
    run = Run(ScriptedDecoder(cells=4000, sequences=8, context_length=400))
    for task_id, adapter in enumerate([None, None, "pirate", "poet", "pirate"]):
        run.submit(task_id, [7, task_id, 9], adapter=adapter, max_tokens=60, temperature=1.0)
    run.finish()
    assert set(run.decoder.turns) == {None, "pirate", "poet"}
    turns = [(adapter, len(list(steps))) for adapter, steps in groupby(run.decoder.turns)]
    while_all_wait = turns[: next(n for n, turn in enumerate(turns) if turn[1] > STEPS or n == len(turns) - 1)]
    assert len(while_all_wait) >= 9
    assert [adapter for adapter, _ in while_all_wait[:6]] == [None, "pirate", "poet"] * 2


def test_a_prompt_that_was_read_with_an_adapter_serves_no_other():
    prompt = [1, 2, 3, 4, 5]
    slots = [Slot(0, prompt[:], 5, adapter="pirate"), Slot(1)]
    same, plain = place(slots, prompt, "pirate"), place(slots, prompt)
    assert same is not None
    assert (same.source.sequence, same.shared) == (0, 4)
    assert plain is not None
    assert (plain.slot.sequence, plain.shared) == (1, 0)


# The pool


async def test_a_model_and_its_adapters_are_one_process_and_all_of_them_count():
    stage = Stage(budget=100)
    await stage.pool.runtime("a")
    for asked in ("a+x", "a+x", "a+y"):
        assert (await stage.pool.runtime(asked)).model_id == asked
    (loaded,) = stage.pool.loaded()
    assert stage.log == ["+a"]
    assert (loaded.model_id, loaded.ram_mb, loaded.adapters) == ("a", 65, ("x", "y"))
    stage.now += 10
    await stage.pool.runtime("b")  # does not fit beside it
    assert stage.names == {"b"}
    await stage.pool.close()


async def test_an_adapter_makes_room_for_itself():
    stage = Stage(budget=85)
    await stage.pool.runtime("a")
    await stage.pool.runtime("b")
    stage.now += 10
    await stage.pool.runtime("a+x")
    assert stage.names == {"a"}
    assert stage.pool.loaded()[0].ram_mb == 50
    await stage.pool.close()


async def test_where_only_its_own_adapters_take_the_room_the_model_comes_again_with_the_new_one():
    stage = Stage(budget=60)
    await stage.pool.runtime("a+x")
    stage.now += 10
    await stage.pool.runtime("a+y")
    (loaded,) = stage.pool.loaded()
    assert (loaded.ram_mb, loaded.adapters) == (55, ("y",))
    assert stage.log == ["+a", "-a", "+a"]
    with pytest.raises(InvalidRequest, match=r"big\+y needs 105 MiB") as caught:
        await stage.pool.runtime("big+y")
    assert caught.value.code == "model_too_large"
    await stage.pool.close()


async def test_a_model_at_work_lets_another_adapter_wait_until_there_is_room():
    stage = Stage(budget=60)
    first = await stage.pool.runtime("a+x")
    stage.made["a"].go.clear()
    events = first.generate(asking("hi"))
    await anext(events)
    stage.now += 10
    second = asyncio.create_task(stage.pool.runtime("a+y"))
    await stage.looked_for_room()
    assert not second.done()
    assert stage.pool.loaded()[0].adapters == ("x",)
    stage.made["a"].go.set()
    async for _ in events:
        pass
    stage.now += 10
    await second
    assert stage.pool.loaded()[0].adapters == ("y",)
    await stage.pool.close()


# Files


def _without(name: str) -> dict[str, Any]:
    return {key: tensor for key, tensor in gguf_tensors(ahoy()).items() if key != name}


def _with(name: str, tensor: Any) -> dict[str, Any]:
    return {**gguf_tensors(ahoy()), name: tensor}


def _zeros(*shape: int, kind: str = "<f4") -> Any:
    return np.zeros(shape, kind)


DOWN = "blk.29.ffn_down.weight"
BAD_GGUF: dict[str, tuple[Any, Any, str]] = {
    "a model": (None, facts(**{"general.type": "model"}), "model_unreadable"),
    "no type": (None, facts(**{"general.type": None}), "model_unreadable"),
    "a number for a type": (None, facts(**{"general.type": 1}), "model_unreadable"),
    "another architecture": (None, facts(**{"general.architecture": "qwen2"}), "adapter_mismatch"),
    "a number for an architecture": (None, facts(**{"general.architecture": 7}), "model_unreadable"),
    "no LoRA": (None, facts(**{"adapter.type": "control_vector"}), "adapter_unsupported"),
    "activated": (None, facts(**{"adapter.alora.invocation_tokens": np.array([1, 2])}), "adapter_unsupported"),
    "no number for alpha": (None, facts(**{"adapter.lora.alpha": "4"}), "model_unreadable"),
    "alpha is none": (None, facts(**{"adapter.lora.alpha": float("nan")}), "model_unreadable"),
    "nothing in it": ({}, None, "model_unreadable"),
    "half a pair": (_without(f"{DOWN}.lora_a"), None, "model_unreadable"),
    "two ranks": (_with(f"{DOWN}.lora_a", _zeros(3, 1536)), None, "model_unreadable"),
    "no rank": ({f"{DOWN}.lora_a": _zeros(0, 1536), f"{DOWN}.lora_b": _zeros(576, 0)}, None, "model_unreadable"),
    "a vector": (_with(f"{DOWN}.lora_a", _zeros(1536)), None, "model_unreadable"),
    "other weights": (_with("blk.0.attn_q.weight", _zeros(2, 2)), None, "model_unreadable"),
    "integers": (_with(f"{DOWN}.lora_b", _zeros(576, 2, kind="<i4")), None, "adapter_unsupported"),
    "too wide": (_with(f"{DOWN}.lora_b", _zeros(577, 2)), None, "adapter_mismatch"),
    "a third side": (
        {f"{DOWN}.lora_a": _zeros(3, 2, 1536), f"{DOWN}.lora_b": _zeros(3, 576, 2)},
        None,
        "adapter_mismatch",
    ),
    "a layer too many": (
        {"blk.30.ffn_down.weight.lora_a": _zeros(2, 1536), "blk.30.ffn_down.weight.lora_b": _zeros(576, 2)},
        None,
        "adapter_mismatch",
    ),
    "a shared embedding": (
        {"token_embd.weight.lora_a": _zeros(49152, 2), "token_embd.weight.lora_b": _zeros(576, 2)},
        None,
        "adapter_unsupported",
    ),
}


@pytest.mark.parametrize("damage", BAD_GGUF)
def test_a_gguf_that_does_not_fit_is_refused_before_llama_cpp_sees_it(tmp_path: Path, models_home: Path, damage: str):
    tensors, said, code = BAD_GGUF[damage]
    path = gguf_adapter(tmp_path / "bad.gguf", tensors, said)
    with pytest.raises(Problem) as caught:
        Pairs().check(path, model_file(models_home), "gguf")
    assert caught.value.code == code
    assert caught.value.hint


def test_a_gguf_that_is_cut_is_told_wherever_it_is_cut(tmp_path: Path, models_home: Path):
    whole = gguf_adapter(tmp_path / "whole.gguf").read_bytes()
    for size in (0, 3, 30, 200, 900, len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(Broken) as caught:
            Pairs().check(tmp_path / "cut.gguf", model_file(models_home), "gguf")
        assert caught.value.code in {"model_truncated", "model_unreadable"}


def test_a_pair_is_looked_at_again_when_a_file_has_changed(tmp_path: Path, models_home: Path):
    pairs, path = Pairs(), gguf_adapter(tmp_path / "one.gguf")
    pairs.check(path, model_file(models_home), "gguf")
    gguf_adapter(path, _with(f"{DOWN}.lora_b", _zeros(577, 2)))
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="577"):
            pairs.check(path, model_file(models_home), "gguf")


BAD_CONFIG: dict[str, tuple[dict[str, Any], str]] = {
    "full": ({"fine_tune_type": "full"}, "adapter_unsupported"),
    "dora": ({"fine_tune_type": "dora"}, "adapter_unsupported"),
    "no layers": ({"num_layers": "all"}, "model_unreadable"),
    "no parameters": ({"lora_parameters": None}, "model_unreadable"),
    "a scale beyond numbers": (
        {"lora_parameters": {"rank": 2, "scale": 10**400, "dropout": 0}},
        "model_unreadable",
    ),
    "another rank": ({"lora_parameters": {"rank": 3, "scale": 1.0, "dropout": 0}}, "model_unreadable"),
    "endless rank": ({"lora_parameters": {"rank": 10**9, "scale": 1.0, "dropout": 0}}, "model_unreadable"),
    "no scale": ({"lora_parameters": {"rank": 2, "dropout": 0}}, "model_unreadable"),
    "a program": ({"lora_parameters": {"rank": 2, "scale": 1.0, "dropout": 0, "keys": "os"}}, "model_unreadable"),
}


@pytest.mark.parametrize("damage", BAD_CONFIG)
def test_an_mlx_adapter_with_a_senseless_config_is_refused(tmp_path: Path, damage: str):
    changes, code = BAD_CONFIG[damage]
    path = mlx_adapter(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(Problem) as caught:
        lora.read(path, "mlx")
    assert caught.value.code == code


def test_an_mlx_adapter_that_is_not_whole_is_told(tmp_path: Path):
    path = mlx_adapter(tmp_path)
    data = path.read_bytes()
    for damaged in (data[:4], data[:100], data[:-1], b"\xff" * 64, (8).to_bytes(8, "little") + b"[1, 2]  "):
        path.write_bytes(damaged)
        with pytest.raises(Broken) as caught:
            lora.read(path, "mlx")
        assert caught.value.code in {"model_truncated", "model_unreadable"}
    path.write_bytes(data)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(Broken) as caught:
        lora.read(path, "mlx")
    assert caught.value.code == "model_file_missing"


# What a request may ask for


def test_an_adapter_is_asked_for_with_its_model_and_never_chosen(root: Path):
    models = local_models(root)
    pair = f"{SMALL}+ahoy-lora"
    assert [(base.id, adapter.id) for base, adapter in models.pairs(models.installed())] == [(SMALL, "ahoy-lora")]
    default, known = models.choices(pair)
    assert default is not None
    assert default.id == SMALL
    assert known.keys() == {SMALL, pair}
    assert models.choices("auto")[1].keys() == {SMALL}
    found, plain = models.spec(pair), models.spec(SMALL)
    assert found.plain == plain
    assert (found.asked_id, found.whole_mb) == (pair, plain.ram_mb + 17)
    assert found.adapter is not None
    assert found.adapter.path == root / "ahoy-lora" / "ahoy-lora.gguf"


@pytest.mark.parametrize(
    "asked", ["+", f"{SMALL}+", f"{SMALL}+nope", "nope+ahoy-lora", f"{SMALL}+ahoy-lora+x", "+ahoy-lora"]
)
def test_what_is_not_there_is_not_known(root: Path, asked: str):
    models = local_models(root)
    assert asked not in models.choices(asked)[1]
    with pytest.raises(NotFound):
        models.spec(asked)


def test_whoever_asks_for_what_does_not_go_together_is_told_why(root: Path):
    install(root, "other", gguf_adapter(root / ".x", None, facts(**{"general.architecture": "qwen2"})).read_bytes())
    install(root, "cut", b"GGUF")
    (install(root, "gone") / "gone.gguf").unlink()
    models = local_models(root)
    for adapter, kind, code in (
        ("other", InvalidRequest, "adapter_mismatch"),
        ("cut", Broken, "model_truncated"),
        ("gone", Broken, "model_file_missing"),
        (SMALL, InvalidRequest, "not_an_adapter"),
    ):
        asked = f"{SMALL}+{adapter}"
        assert asked in models.choices(asked)[1]
        with pytest.raises(kind) as caught:
            models.spec(asked)
        assert caught.value.code == code
        assert caught.value.hint
    assert "ahoy-lora" in models.choices("ahoy-lora")[1]
    with pytest.raises(InvalidRequest) as caught:
        models.spec("ahoy-lora")
    assert "BASE+ahoy-lora" in caught.value.hint


def test_a_context_that_must_be_short_leaves_room_for_an_adapter(root: Path):
    whole = local_models(root).spec(SMALL)
    small = local_models(root, ram_budget_mb=whole.ram_mb - 20)
    found = small.spec(f"{SMALL}+ahoy-lora")
    assert found.context_length < whole.context_length
    assert found.whole_mb <= small.ram_budget_mb


# The real thing


def _adapter(path: Path, name: str = "ahoy", **more: Any) -> AdapterSpec:
    return AdapterSpec(name, path, 5, **more)


async def _asked(runtime: Any, text: str, adapter: AdapterSpec | None, **sampling: Any) -> Answer:
    events = [event async for event in runtime.generate(asking(text, temperature=0, seed=1, **sampling), adapter)]
    return Answer(events[:-1], events[-1])


@pytest.mark.slow
async def test_adapters_and_the_plain_model_answer_at_once_and_never_mix(models_home: Path, tmp_path: Path):
    adapter = _adapter(gguf_adapter(tmp_path / "ahoy.gguf"), in_use=tmp_path / "lock")
    async with running(spec(model_file(models_home), parallel=8)) as runtime:
        alone = (await _asked(runtime, QUESTION, None, max_tokens=30)).text
        vector = (await runtime.embed([QUESTION]))[0]
        pid, at_once = runtime.pid, [adapter, None, adapter, adapter]
        answers = await asyncio.gather(*(_asked(runtime, QUESTION, each, max_tokens=30) for each in at_once))
        assert [each.text for each in answers] == [SAYS, alone, SAYS, SAYS]
        with pytest.raises(Conflict, match=rf"process {os.getpid()}\."), unused(tmp_path / "lock", "ahoy"):
            pass
        assert (await _asked(runtime, f"{QUESTION} {STORY}", adapter, max_tokens=30)).text == SAYS
        assert (await runtime.embed([QUESTION], adapter))[0] != vector
        assert (await runtime.embed([QUESTION]))[0] == vector
        assert (await _asked(runtime, QUESTION, None, max_tokens=30)).text == alone
        assert runtime.pid == pid
    with unused(tmp_path / "lock", "ahoy"):
        pass


@pytest.mark.slow
async def test_a_bad_adapter_takes_down_its_own_request_and_nothing_else(models_home: Path, tmp_path: Path):
    whole = gguf_adapter(tmp_path / "ahoy.gguf")
    wide = gguf_adapter(tmp_path / "wide.gguf", _with(f"{DOWN}.lora_b", _zeros(577, 2)))
    (tmp_path / "cut.gguf").write_bytes(whole.read_bytes()[:-5000])
    async with running(spec(model_file(models_home))) as runtime:
        beside = asyncio.create_task(answer(runtime, asking(STORY, temperature=0, max_tokens=40)))
        for path, code in (
            (wide, "adapter_mismatch"),
            (tmp_path / "cut.gguf", "model_truncated"),
            (tmp_path / "gone" / "x.gguf", "model_not_installed"),
            (tmp_path / "x.gguf", "model_file_missing"),
        ):
            with pytest.raises(Problem) as caught:
                await _asked(runtime, QUESTION, _adapter(path, path.stem + path.parent.name))
            assert caught.value.code == code
        assert (await beside).finish.usage.completion_tokens == 40
        assert (await _asked(runtime, QUESTION, _adapter(whole))).text == SAYS


@pytest.mark.slow
async def test_the_same_adapter_says_the_same_on_both_runtimes(
    models_home: Path, converted_models: Path, tmp_path: Path
):
    pytest.importorskip("mlx_lm", reason="the mlx extra is not installed")
    gguf = spec(model_file(models_home), context_length=512)
    mlx = spec(converted_models / MLX / "model.safetensors", model_id=MLX, model_format="mlx", context_length=512)
    on_gguf, on_mlx = gguf_adapter(tmp_path / "ahoy.gguf"), mlx_adapter(tmp_path / "mlx")
    async with running(gguf) as one, running(mlx) as other:
        first = await _asked(one, QUESTION, _adapter(on_gguf), max_tokens=8)
        plain = await _asked(other, "Hi", None, max_tokens=2)
        second, again = await asyncio.gather(
            _asked(other, QUESTION, _adapter(on_mlx), max_tokens=8), _asked(other, "Hi", None, max_tokens=2)
        )
        with pytest.raises(Problem) as caught:
            await _asked(other, "Hi", _adapter(on_gguf, "wrong"), max_tokens=1)
        assert caught.value.code == "model_file_missing"
    assert first.text == second.text == SAYS
    assert first.logprobs[0].token == second.logprobs[0].token
    assert abs(first.logprobs[0].logprob - second.logprobs[0].logprob) < 0.05
    assert again.text == plain.text


@pytest.mark.slow
def test_a_daemon_answers_with_an_adapter_that_came_while_it_ran(models_home: Path, tmp_path: Path):
    models = tmp_path / "models"
    shutil.copytree(models_home / SMALL, models / SMALL, copy_function=os.link)
    pair = f"{SMALL}+ahoy-lora"
    with daemon(tmp_path, models, '[bridge]\nmode = "off"\n') as running_daemon:
        plain = running_daemon.chat(QUESTION, model=SMALL, temperature=0, seed=1).json()
        assert running_daemon.chat(QUESTION, model=pair).status_code == 404
        install(models)
        listed = {model["id"]: model for model in running_daemon.http.get("/v1/models").json()["data"]}
        assert (listed[pair]["base"], listed[pair]["adapter"]) == (SMALL, "ahoy-lora")
        assert "ahoy-lora" not in listed
        got = running_daemon.chat(QUESTION, model=pair, temperature=0).json()
        assert got["choices"][0]["message"]["content"] == SAYS
        assert got["edge"]["model"] == pair
        for auto in ("auto", "local"):
            said = running_daemon.chat(QUESTION, model=auto, temperature=0, seed=1).json()
            assert said["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]
            assert said["edge"]["model"] == SMALL
        (loaded,) = running_daemon.http.get("/edge/v1/status").json()["loaded_models"]
        assert (loaded["model_id"], loaded["adapters"]) == (SMALL, ["ahoy-lora"])
        assert pair in running_daemon.command("models", "list").stdout
        assert running_daemon.command("ask", "--model", pair, QUESTION).stdout == f"{SAYS}\n"
        assert "in use" in running_daemon.command("models", "rm", "ahoy-lora").stderr
        refused = running_daemon.chat(QUESTION, model="ahoy-lora")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_a_language_model")
