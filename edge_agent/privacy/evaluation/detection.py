"""What is found in labelled data, ours and stock Presidio's. Blocking, local, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.privacy import kinds
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.evaluation import judgments as of_judgments
from edge_agent.privacy.evaluation import leaks as of_leaks
from edge_agent.privacy.evaluation import tokens as of_tokens
from edge_agent.privacy.evaluation.datasets import Judgment, Labelled, Range
from edge_agent.privacy.evaluation.figure import Figure, Watch, share
from edge_agent.privacy.evaluation.leaks import Sent
from edge_agent.privacy.evaluation.memory import SESSION, in_memory
from edge_agent.privacy.evaluation.stock import Find
from edge_agent.privacy.mask import anonymize_text
from edge_agent.privacy.spans import Span

STOCK = "stock Presidio"
PUBLISHED = "published, NER + regex"

BELIEVED = 0.4
"""From which score on presidio-evaluator believes stock Presidio."""

KeepsLocal = Callable[[str], bool]
"""Whether a text that only hints at somebody is answered here under the default policy, and so never leaves."""


@dataclass(frozen=True, slots=True)
class Finders:
    """Ours, and stock Presidio where it is compared with."""

    ours: Find
    theirs: Find | None


def judgments(rows: Sequence[Judgment], finders: Finders, watch: Watch, named: str = "TAB dev") -> list[Figure]:
    """Of mentions that must be hidden, how many are; of what is hidden, how much had to be; whole, and by halves."""
    ours = _ranges(finders.ours, rows, watch, "judgments")
    theirs = None if finders.theirs is None else _ranges(finders.theirs, rows, watch, "judgments, stock Presidio")
    half = len(rows) // 2
    figures = _of_judgments(f"{named}, {len(rows)} documents", slice(None), rows, ours, theirs)
    if half:
        figures += _of_judgments(f"{named}, first half", slice(0, half), rows, ours, theirs)
        figures += _of_judgments(f"{named}, second half", slice(half, None), rows, ours, theirs)
    return figures


def _of_judgments(
    data: str,
    part: slice,
    rows: Sequence[Judgment],
    ours: Sequence[Sequence[Range]],
    theirs: Sequence[Sequence[Range]] | None,
) -> list[Figure]:
    here = of_judgments.coverage(rows[part], ours[part])
    there = None if theirs is None else of_judgments.coverage(rows[part], theirs[part])

    def figure(what: str, of: Callable[[of_judgments.Coverage], float], target: float | None) -> Figure:
        return Figure(data, what, of(here), None if there is None else of(there), STOCK, target)

    return [
        figure("mention recall", lambda found: found.recall, 0.90),
        figure("character precision", lambda found: found.precision, 0.70),
        figure("character precision, any entity", lambda found: found.entity_precision, None),
        figure("case-number recall", lambda found: found.case_number_recall, 0.99),
    ]


def sentences(rows: Sequence[Labelled], finders: Finders, watch: Watch) -> list[Figure]:
    """presidio-evaluator's token score."""
    from spacy.lang.en import English  # noqa: PLC0415 - slow
    from spacy.lang.en.stop_words import STOP_WORDS  # noqa: PLC0415

    tokenizer = English().tokenizer
    words = [[(token.idx, token.text) for token in tokenizer(row.text)] for row in rows]

    def scored(found: Sequence[Sequence[Span]], types: Iterable[str]) -> of_tokens.Score:
        return of_tokens.score(rows, words, found, types=frozenset(types), stop_words=STOP_WORDS)

    there = {of_tokens.PRESIDIO_NAMES.get(gold.type, gold.type) for row in rows for gold in row.spans}
    # A postal code is a part of an address for us, which notebook 5 takes for right, too.
    known = {of_tokens.OUR_NAMES.get(kind, kind) for kind in kinds.DEFAULT_TYPES} | {"ZIP_CODE"}
    ours = [of_tokens.renamed(finders.ours(row.text)) for row in watch(rows, "sentences")]
    theirs = None
    if finders.theirs is not None:
        found = [finders.theirs(row.text) for row in watch(rows, "sentences, stock Presidio")]
        theirs = [[span for span in spans if span.score >= BELIEVED] for spans in found]
    figures = []
    for what, here, stock in (
        ("types it knows", known, _STOCK_TYPES),
        ("all types", known | there, _STOCK_TYPES | there),
    ):
        one, other = scored(ours, here), None if theirs is None else scored(theirs, stock)
        figures += _of_sentences(f"presidio_research, {what}", one, other, 0.88 if here is known else None)
    return [*figures, *_by_type(scored(ours, known | there))]


_STOCK_TYPES = frozenset(
    {
        *("CREDIT_CARD", "CRYPTO", "DATE_TIME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "LOCATION", "MAC_ADDRESS"),
        *("MEDICAL_LICENSE", "NRP", "ORGANIZATION", "PERSON", "PHONE_NUMBER", "UK_NHS", "URL", "US_BANK_NUMBER"),
        *("US_DRIVER_LICENSE", "US_ITIN", "US_PASSPORT", "US_SSN"),
    }
)
"""What stock Presidio supports for English."""


def _of_sentences(
    data: str, here: of_tokens.Score, there: of_tokens.Score | None, target: float | None
) -> list[Figure]:
    def figure(what: str, of: Callable[[of_tokens.Score], float], reach: float | None = None) -> Figure:
        return Figure(data, what, of(here), None if there is None else of(there), STOCK, reach)

    return [
        figure("precision, tokens", lambda score: score.precision),
        figure("recall, tokens", lambda score: score.recall),
        figure("F2, tokens (the package's own)", lambda score: score.f(), target),
        figure("F1, tokens", lambda score: score.f(1.0)),
    ]


def _by_type(score: of_tokens.Score) -> list[Figure]:
    return [
        Figure("presidio_research, all types", f"recall, {kind}, {there} tokens", found / there)
        for kind, (found, there) in score.by_type.items()
    ]


async def prompts(rows: Sequence[Labelled], detector: Detector, watch: Watch) -> list[Figure]:
    """How much of the values in prompts still shows in what would leave."""
    found = of_leaks.leaks(rows, [await masked(row.text, detector) for row in watch(rows, "prompts")])
    data = f"llm_redactor wl1, {len(rows)} prompts"
    return [
        Figure(data, "leaked, as published", found.combined_rate, 0.153, PUBLISHED, target=0.02, at_most=True),
        Figure(data, "leaked, the whole value", found.exact_rate),
        Figure(data, "leaked, at its own place", found.in_place_rate, target=0.02, at_most=True),
        *(Figure(data, f"leaked, {kind}, as published", rate) for kind, rate in found.by_kind().items()),
    ]


async def implicit(rows: Sequence[Labelled], detector: Detector, keeps_local: KeepsLocal, watch: Watch) -> list[Figure]:
    """Prompts that identify without a name: how much shows after masking, and how much leaves at all."""
    sent = [await masked(row.text, detector) for row in watch(rows, "implicit")]
    leaving = [None if keeps_local(row.text) else left for row, left in zip(rows, sent, strict=True)]
    data = f"llm_redactor wl3, {len(rows)} prompts"
    alone, routed = of_leaks.leaks(rows, sent).combined_rate, of_leaks.leaks(rows, leaving).combined_rate
    return [
        Figure(data, "leaked, with masking alone, as published", alone, 0.95, PUBLISHED),
        Figure(data, "leaked, as the default policy routes, as published", routed, 0.436, _ROUTED, 0.95, at_most=True),
        Figure(data, "prompts that leave", share(sum(left is not None for left in leaving), len(rows))),
    ]


_ROUTED = "published, routed locally and rephrased"


def kept(texts: Mapping[str, Sequence[str]], keeps_local: KeepsLocal, watch: Watch) -> list[Figure]:
    """How many ordinary requests, by data set, stay here as if they identified somebody: what that policy costs."""
    return [
        Figure(data, "ordinary requests kept here", share(sum(map(keeps_local, watch(rows, data))), len(rows)))
        for data, rows in texts.items()
    ]


async def masked(text: str, detector: Detector) -> Sent:
    """`text` as it would leave in a new session. Raises Problem."""
    outgoing, spans = await anonymize_text(text, detector, in_memory(), SESSION)
    return Sent(outgoing, tuple((int(span["start"]), int(span["end"])) for span in spans))


def _ranges(find: Find, rows: Sequence[Judgment], watch: Watch, what: str) -> list[list[Range]]:
    return [[(span.start, span.end) for span in find(row.text)] for row in watch(rows, what)]
