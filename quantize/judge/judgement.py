"""What an artifact is worth: its size, memory and speed, and what it lost against the model it was made of."""

from __future__ import annotations

from pathlib import Path

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.libraries import library_for
from edge_agent.models.manifest import Manifest, Measured
from edge_agent.models.progress import Progress
from quantize.judge import as_run, logits
from quantize.judge.divergence import Estimate
from quantize.judge.reference import Reference


def judge(folder: Path, manifest: Manifest, reference: Reference, progress: Progress) -> Measured:
    """Measure the language model in `folder`, which `manifest` describes, beside its `reference`.

    Both quality figures and speeds are taken in processes of their own, one after the other, so that what else this
    process holds does not count. Blocks, for seconds to minutes; not for use in an event loop.

    Raises InvalidRequest code "not_a_language_model" and what `logits.compare` and `as_run.run` raise.
    """
    library = library_for(manifest.format)
    if manifest.kind != "llm" or library is None:
        raise InvalidRequest(
            f"{manifest.id} is no language model, and only those are judged.",
            code="not_a_language_model",
            hint="Leave the judging out.",
        )
    path = (folder / manifest.files[0].path).absolute()
    spec = as_run.spec_of(manifest.id, path, library.format, manifest.context_length)
    compared = logits.compare(path, library.format, reference.folder, progress)
    seen = as_run.run(spec, reference.extent, progress)
    divergence, perplexity, ratio = (
        Estimate(**compared[name]) for name in ("kl_divergence", "perplexity", "perplexity_ratio")
    )
    intents, documents = seen.scores.intents, seen.scores.documents
    return Measured(
        size_bytes=manifest.size,
        ram_mb=spec.ram_mb,
        peak_ram_mb=seen.peak_ram_mb,
        prompt_tokens_per_s=seen.speed.prompt,
        generation_tokens_per_s=seen.speed.generation,
        kl_divergence=divergence.mean,
        kl_divergence_error=divergence.error,
        top1_agreement=compared["top1_agreement"],
        perplexity=perplexity.mean,
        perplexity_error=perplexity.error,
        perplexity_ratio=ratio.mean,
        perplexity_ratio_error=ratio.error,
        reference_perplexity=reference.perplexity.mean,
        tokens=compared["tokens"],
        intent_accuracy=intents.value,
        reference_intent_accuracy=reference.scores.intents.value,
        intents=intents.asked,
        json_validity=documents.value,
        reference_json_validity=reference.scores.documents.value,
        documents=documents.asked,
        reference_sha256=reference.model_sha256,
        text_sha256=reference.text_sha256,
    )
