"""The options of `edge-quantize`, with what its help says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantize.gguf import to_gguf
from quantize.mlx import to_mlx
from quantize.onnx import to_onnx
from quantize.ways import Target

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A .gguf file; a folder with config.json, tokenizer.json and *.safetensors; a hub id: owner/name, "
        "owner/name@revision, owner/name:file.gguf; or a LoRA adapter.",
    ),
]
To = Annotated[Target, typer.Option(help="The format to make.")]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help=f"gguf: any of llama.cpp's types [{to_gguf.DEFAULT_TYPE}]; onnx: {', '.join(to_onnx.TYPES)} "
        f"[{to_onnx.DEFAULT_TYPE}]; mlx: {', '.join(to_mlx.TYPES)} [{to_mlx.DEFAULT_TYPE}]. "
        "Given more than once, they are compared.",
    ),
]
RamBudget = Annotated[
    float | None,
    typer.Option("--ram-budget", metavar="MB", help="Try several types; take the best that fits."),
]
MaxLoss = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Try several types; of those whose KL divergence from the source is at most X nats a token, take the "
        "smallest, or with --ram-budget the best.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="The folder to make; without it the model goes into the daemon's models folder."),
]
Judged = Annotated[
    bool,
    typer.Option("--judge/--no-judge", help="Measure speed, memory and quality beside the source."),
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="Judge on a quarter of the text and of the tasks: coarser figures."),
]
JudgingText = Annotated[
    Path | None,
    typer.Option("--text", metavar="FILE", help="Judge on this text, of the kind it is for."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The text that importance matrices and learned methods read."),
]
Matrix = Annotated[Path | None, typer.Option("--imatrix", metavar="FILE", help="gguf: take this importance matrix.")]
OutputType = Annotated[
    str | None,
    typer.Option(metavar="T", help="gguf: keep the output tensor in this type, as Q8_0."),
]
EmbeddingType = Annotated[str | None, typer.Option(metavar="T", help="gguf: keep the token embeddings in this type.")]
Base = Annotated[str | None, typer.Option(metavar="MODEL", help="Of an adapter: the model it was trained on.")]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]
