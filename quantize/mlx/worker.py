"""The process in which MLX reads a model and writes another: Ctrl-C ends it at once, and its memory goes back with it.

    python -P -m quantize.mlx.worker JOB

JOB is JSON: the arguments of `main`. Prints one JSON object a line: {"step": what is going on, "at", "of"}, and at the
end {"made": true} or {"failure": a code}.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

from edge_agent.runtimes.worker.lifeline import die_with
from quantize.mlx import learned

_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
_SHORT = {"float16": mx.float16, "bfloat16": mx.bfloat16}


def say(**facts: Any) -> None:
    """One line to the command that started this."""
    print(json.dumps(facts), file=sys.__stdout__, flush=True)


def main(plain: str, made: str, recipe: dict[str, Any], text: str) -> None:
    """Write the model of the folder `plain` to the folder `made`.

    `recipe` has the fields of `quantize.mlx.to_mlx.Recipe`; the learned methods read the file `text`.
    """
    say(step="loading")
    try:
        # Without mlx-lm's tokenizer, which would import most of transformers.
        model, config = load_model(Path(plain), lazy=True, trust_remote_code=False)
    except ValueError as error:
        if "not supported" not in str(error):
            raise
        say(failure="unsupported_architecture")
        return
    kept = _kept_type(config)
    config.pop("quantization", None)
    config.pop("quantization_config", None)
    try:
        if recipe["method"] is None:
            _cast(model, kept)
            model, config = _rounded(model, config, recipe)
        else:
            # The methods need the precision, and a CPU multiplies numbers of 32 bits fastest.
            _cast(model, mx.float32)
            model, config = _learned(model, config, recipe, lambda most: _passages(Path(text), Path(plain), most))
        whole = _check_fits(model)
    except learned.TooShortError as error:
        say(failure="calibration_too_short", tokens=error.tokens, needed=learned.LENGTH)
        return
    except learned.UnsupportedError as error:
        say(failure="unsupported_type", reason=str(error))
        return
    _cast(model, kept)
    say(step="writing")
    save_model(Path(made), model, donate_model=True)
    save_config(config, config_path=Path(made) / "config.json")
    for name in _BESIDE:
        if (Path(plain) / name).is_file():
            shutil.copyfile(Path(plain) / name, Path(made) / name)
    say(made=True, whole=whole, is_wide=kept == mx.float32)


def _rounded(model: Any, config: dict[str, Any], recipe: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    say(step="quantizing")
    predicate = None
    if recipe["mixed"]:
        try:
            predicate = mixed_quant_predicate_builder(recipe["mixed"], model, recipe["group_size"])
        except ValueError as error:  # it looks for matrices by the names that most architectures give them
            raise learned.UnsupportedError("its recipes know no such architecture") from error
    found: tuple[Any, dict[str, Any]] = quantize_model(
        model, config, recipe["group_size"], recipe["bits"], quant_predicate=predicate
    )
    return found


def _learned(
    model: Any, config: dict[str, Any], recipe: dict[str, Any], passages: Callable[[int], Any]
) -> tuple[Any, dict[str, Any]]:
    method = recipe["method"]
    most = learned.CPU_PASSAGES.get(method)
    read = passages(most) if most else None
    say(step="quantizing")
    model, how = learned.METHODS[method](model, config, read, recipe["bits"], recipe["group_size"])
    return model, {**config, "quantization": how, "quantization_config": how}


def _passages(text: Path, plain: Path, most: int) -> Any:
    found = learned.passages_of(text, plain / "tokenizer.json", most)
    say(tokens=found.size)
    return found


def _check_fits(model: Any) -> int:
    """How many matrices stay whole: their rows are no multiple of the group. Raises UnsupportedError if most do."""
    layers = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    whole = [layer for _, layer in layers if hasattr(layer, "to_quantized")]
    quantized = [layer for _, layer in layers if hasattr(layer, "group_size")]
    if len(whole) > len(quantized):
        raise learned.UnsupportedError("most of its matrices have rows that are no multiple of the group")
    return len(whole)


def _kept_type(config: Mapping[str, Any]) -> Any:
    """Of scales and of what is not quantized: the source's 16 bits on a GPU; on a CPU 32.

    MLX's products with quantized matrices were measured on a CPU to be six times slower with bfloat16 scales, and
    forty times with float16 ones.
    """
    if mx.default_device() != mx.gpu:
        return mx.float32
    return _SHORT.get(str(config.get("dtype") or config.get("torch_dtype")), mx.bfloat16)


def _cast(model: Any, kind: Any) -> None:
    """Give all weights that are not packed this type, but those whose architecture needs another."""
    may_cast = getattr(model, "cast_predicate", lambda _: True)

    def cast(name: str, values: Any) -> Any:
        return values.astype(kind) if may_cast(name) and mx.issubdtype(values.dtype, mx.floating) else values

    model.update(tree_map_with_path(cast, model.parameters()))


if __name__ == "__main__":
    die_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Only our own lines may go to stdout; mlx-lm prints.
    sys.stdout = sys.stderr
    logging.disable(logging.WARNING)
    main(**json.loads(sys.argv[1]))
