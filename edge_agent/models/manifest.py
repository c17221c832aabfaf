"""The manifest of a model: what it is, which files it has, and where each can be had or how they were made.

One form for the catalog's models and for those made on this machine. Validated once, when it is read;
`models/manifest.schema.json` is generated from these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.names import check_relative

_STRICT = ConfigDict(extra="forbid")

SCHEMA: Final = 1
"""The version of this form. An edge-agent refuses what a newer one wrote."""

ModelKind = Literal["llm", "adapter", "encoder", "token_classifier", "ner_pipeline", "head"]
ModelFormat = Literal["gguf", "onnx", "mlx", "spacy", "safetensors"]
ModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*$", max_length=100)]
RelativePath = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_relative)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# No disk and no model has more: what is computed from these numbers stays sensible.
Count = Annotated[int, Field(gt=0, le=2**53)]
CountOrZero = Annotated[int, Field(ge=0, le=2**53)]
# A perplexity is at most e to the power of 64.
Positive = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# Shown on terminals: no control characters, which could rewrite what is on them.
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=2000)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class HubSource:
    """A file of a repository on the Hugging Face hub, or of whatever speaks its way at `$HF_ENDPOINT`."""

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    path: RelativePath

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:12]}"


@dataclass(frozen=True, slots=True, config=_STRICT)
class WheelMember:
    """One member of a Python wheel: `sha256` is the wheel's, `size` the member's in bytes."""

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]
    sha256: Sha256
    member: RelativePath
    size: Count


@dataclass(frozen=True, slots=True, config=_STRICT)
class WheelSource:
    """Members of wheels, joined in order. Read as data; never imported."""

    kind: Literal["wheel"]
    parts: Annotated[tuple[WheelMember, ...], Field(min_length=1)]

    def __str__(self) -> str:
        more = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"wheel {self.parts[0].package} {self.parts[0].version}{more}"


@dataclass(frozen=True, slots=True, config=_STRICT)
class FileSource:
    """A folder named by an environment variable, laid out like the models folder: `<model id>/<path>`."""

    kind: Literal["file"]
    folder_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]

    def __str__(self) -> str:
        return f"file ${self.folder_env}"


@dataclass(frozen=True, slots=True, config=_STRICT)
class BundledSource:
    """A folder that comes with edge-agent itself, holding the file at its path."""

    kind: Literal["bundled"]
    folder: RelativePath

    def __str__(self) -> str:
        return "bundled"


Source = Annotated[HubSource | WheelSource | FileSource | BundledSource, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, config=_STRICT)
class ModelFile:
    """One file, and the sources it can be had from, tried in order: none for what was made here. `size` in bytes."""

    path: RelativePath
    sha256: Sha256
    size: Count
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, config=_STRICT)
class MadeFromFile:
    """A file that went into a conversion. `size` in bytes."""

    path: Text
    sha256: Sha256
    size: CountOrZero


@dataclass(frozen=True, slots=True, config=_STRICT)
class MadeFrom:
    """What a conversion was given; `licence` is None where nothing said it."""

    name: Text
    files: Annotated[tuple[MadeFromFile, ...], Field(min_length=1)]
    licence: Text | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class Measured:
    """What a language model that was made here was found to be worth, on the machine that made it.

    Memory in MiB: `ram_mb` is what the daemon reckons with, `peak_ram_mb` what was seen, 0 where it was not run. Speeds
    in tokens a second, of one request alone; None where the model wrote nothing. `tokens` were scored beside the
    reference, whose file has `reference_sha256`: the mean Kullback-Leibler divergence of the reference from the model
    in nats, the share of tokens for which both hold the same one to be the likeliest, the perplexity of the text, and
    the model's perplexity over the reference's. Each `_error` is a standard error. The tasks' scores are shares of
    `intents` utterances and of `documents`, None where nothing was asked.
    """

    size_bytes: Count
    ram_mb: Annotated[int, Field(gt=0, le=2**24)]
    peak_ram_mb: Annotated[int, Field(ge=0, le=2**24)]
    prompt_tokens_per_s: Positive | None
    generation_tokens_per_s: Positive | None
    kl_divergence: NotNegative
    kl_divergence_error: NotNegative
    top1_agreement: Share
    perplexity: Positive
    perplexity_error: NotNegative
    perplexity_ratio: Positive
    perplexity_ratio_error: NotNegative
    reference_perplexity: Positive
    tokens: Count
    intent_accuracy: Share | None
    reference_intent_accuracy: Share | None
    intents: CountOrZero
    json_validity: Share | None
    reference_json_validity: Share | None
    documents: CountOrZero
    reference_sha256: Sha256
    text_sha256: Sha256

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True, config=_STRICT)
class Made:
    """How a model came to be that was made on this machine: from what, by which command, with which tools."""

    source: MadeFrom
    command: Text
    tools: dict[Text, Text]
    notes: tuple[Text, ...] = ()
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class Adapter:
    """What a LoRA adapter says of itself: its B·A is multiplied by `scale`; `base` is what it was trained on."""

    rank: Annotated[int, Field(gt=0, le=4096)]
    scale: Annotated[float, Field(allow_inf_nan=False)]
    architecture: Text | None = None
    base: Text | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class Manifest:
    """A model. The first of `files` is the main one. `ram_mb` is what it takes resident, in MiB.

    A model that was made here has `made`, and its files have no sources; in the catalog it is the other way round.
    """

    id: ModelId
    kind: ModelKind
    format: ModelFormat
    licence: Text
    attribution: Text
    ram_mb: Annotated[int, Field(gt=0, le=2**24)]
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1)]
    tasks: tuple[str, ...] = ()
    context_length: Count | None = None
    parameters: Count | None = None
    quantization: Text | None = None
    homepage: Text | None = None
    schema: Literal[1] = SCHEMA
    made: Made | None = None
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise ValueError("files: two files have the same path")
        if self.kind == "llm" and self.context_length is None:
            raise ValueError("context_length: an llm needs one")
        if (self.kind == "adapter") is not (self.adapter is not None):
            raise ValueError("adapter: an adapter needs one, and nothing else has one")
        for n, file in enumerate(self.files):
            if self.made is None and not file.sources:
                raise ValueError(f"files.{n}.sources: a model of the catalog needs at least one")
            if self.made is not None and file.sources:
                raise ValueError(f"files.{n}.sources: a model that was made here has none")
            for source in file.sources:
                if isinstance(source, WheelSource) and sum(part.size for part in source.parts) != file.size:
                    raise ValueError(f"files: {file.path}: the sizes of the wheel parts do not add up to `size`")

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.size for file in self.files)


MANIFEST = TypeAdapter(Manifest)


def parse(document: Mapping[str, Any], where: str) -> Manifest:
    """The manifest in `document`.

    Raises Broken code "bad_manifest" that names `where` and the field, "manifest_too_new" for a newer form.
    """
    schema = document.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise Broken(
            f"{where} was written by a newer edge-agent.",
            code="manifest_too_new",
            hint="Update edge-agent.",
            param="schema",
        )
    try:
        return MANIFEST.validate_python(dict(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = plain(".".join(str(part) for part in first["loc"]))
        said = plain(first["msg"])
        named = f"{field}: {said}" if field else said.removeprefix("Value error, ")
        raise Broken(
            f"{where}: {named}.",
            code="bad_manifest",
            hint="See models/manifest.schema.json for what a manifest may hold.",
            param=field or None,
        ) from error


def plain(text: str, most: int = 300) -> str:
    """`text` as it may be shown on a terminal or written into a manifest: one line, at most `most` characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:most])
