"""Finders of case numbers, and of the numbers that organisations give to what somebody asked or bought."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, announced, holds_any


def case_number(text: str) -> Iterator[Hit]:
    """Numbers of courts' and authorities' cases, each of a list by itself: "nos. 1234/05 and 2345/06"."""
    for match in _NUMBERS_SAID.finditer(text):
        if _NORM.search(text, max(0, match.start() - 20), match.start()) is not None:
            continue
        directly = _DIRECTLY.search(text, max(0, match.start() - 30), match.start()) is not None
        near = directly or announced(text, match.start(), match.start() + 1, _CASE_WORDS)
        for item in _ITEM.finditer(text, match.start("items"), match.end("items")):
            if _SLASHED.search(item.group()):
                yield item.start(), item.end(), 0.96
            elif directly or (near and sum(map(str.isdigit, item.group())) >= 4):
                yield item.start(), item.end(), 0.8
    end = -1
    for match in _SLASHED_YEAR.finditer(text):
        in_list = match.start() - end in {2, 5} and text[end : match.start()] in {", ", " and "}
        if in_list or announced(text, *match.span(), _CASE_WORDS) or _NEXT_IN_LIST.match(text, match.end()):
            yield match.start(), match.end(), 0.8
            end = match.end()
        elif _LONG.fullmatch(match.group()):
            yield match.start(), match.end(), 0.5
    if holds_any(text, ("ECLI", "ecli")):
        yield from ((match.start(), match.end(), 1.0) for match in _ECLI.finditer(text))
    for match in _FORMATS.finditer(text):
        yield match.start(), match.end(), 0.9


_CASE_WORDS = (
    "application", "applications", "case", "cases", "docket", "file", "court", "complaint", "petition", "appeal",
    "proceedings", "judgment", "indictment", "dec.", "v", "v.", "aktenzeichen", "geschäftszeichen", "az", "az.",
    "plot", "plots", "registration", "matter", "cause", "action", "suit", "rol", "dossier", "sygn",
)  # fmt: skip
_DIRECTLY = re.compile(
    r"(?<![A-Za-z])(?:[Aa]pplication|[Cc]ase|[Dd]ocket|[Ff]ile|[Cc]omplaint|[Pp]etition|[Aa]ppeal|[Pp]lot|[Rr]egistration"
    r"|[Mm]atter|[Cc]ause|[Aa]ction|[Ii]ndictment|[Dd]ossier)s?\s?\(?$"
)
_NORM = re.compile(
    r"(?:Laws?|Acts?|Decrees?|Directives?|Regulations?|Protocols?|Resolutions?|Rules?|Ordinances?) ?\(?$"
)
_ITEM_PATTERN = r"(?:[A-Z]{1,4}[\-/ ])?\d{1,7}(?:[./:\-]\d{1,7}){0,4}(?:[\-/][A-Z]{1,4})?(?![\w%]|[.,]\d)"
_ITEM = re.compile(_ITEM_PATTERN)
_NUMBERS_SAID = re.compile(
    rf"(?<![A-Za-z])[Nn](?:os?|rs?)\b\.?[\u00b0\u00ba]?\s{{0,2}}(?P<items>{_ITEM_PATTERN}"
    rf"(?:(?:,? (?:and|und|et|&) |, ?)(?:nos?\. )?{_ITEM_PATTERN}){{0,40}})"
)
_SLASHED = re.compile(r"\d/\d{2,4}(?!\d)")
_NEXT_IN_LIST = re.compile(r"(?:, | and )(?!(?:19|20)\d\d/)\d{3,6}/\d{2}(?![\w/])")
_LONG = re.compile(r"\d{5}/\d{2}")
_SLASHED_YEAR = re.compile(
    r"(?<![\w/.\-])(?!(?:19|20)\d\d/\d\d(?!\d))\d{2,6}/(?:\d{2}|(?:19|20)\d{2})(?![\w/]|[.\-]\d)"
)
_ECLI = re.compile(r"\bECLI:[A-Z]{2}:[A-Z0-9]{1,7}:\d{4}:[A-Z0-9.]{1,25}(?<!\.)", re.IGNORECASE)
_FORMATS = re.compile(
    r"(?<![\w\-])(?:\d{1,2}:\d{2}-?[a-z]{2}-\d{3,6}(?:-[A-Z]{2,4}){0,3}"  # United States district courts
    r"|\d{2}-[a-z]{2}-\d{3,6}"
    r"|[CTF]-\d{1,4}/\d{2}(?: ?P(?:PU)?)?"  # Court of Justice of the European Union
    r"|\[\d{4}\] (?:EWCA|EWHC|UKSC|UKHL|UKPC|UKUT|UKEAT|EWFC|CSIH|CSOH|NICA|IESC|IEHC)(?: (?:Civ|Crim|Admin))? \d{1,4}"
    r"|(?:HC|QB|KB|CL|BL|HP|CR|IL|PT)-20\d\d-(?:[A-Z]{3}-)?\d{6}"
    r"|(?:[IVX]{1,4}|\d{1,3}[a-z]?) (?:BvR|BvL|BvE|ZR|ZB|StR|AZR|ABR|KR|RK|C|O|U|S|Js|Ks|KLs|Ds|Ls|Cs|F|T|K|L|B) "
    r"\d{1,5}/\d{2})(?![\w]|-\d)"  # Germany
)


def reference_number(text: str) -> Iterator[Hit]:
    """What stands behind "invoice no.", "claim #", "policy number:", "ticket", "ref." and the like."""
    if not holds_any(text.lower(), _REFERENCE_PARTS):
        return
    for match in _REFERENCE.finditer(text):
        value = match["value"]
        if sum(map(str.isdigit, value)) >= 3 and not _ORDINARY.fullmatch(value):
            yield match.start("value"), match.end("value"), 0.9


_REFERENCE_PARTS = ("invoice", "claim", "policy", "ticket", "docket", "ref", "case", "file", "contract", "customer",
                    "booking", "reservation", "tracking", "incident", "order", "member", "patient", "employee",
                    "matter", "warranty", "confirmation", "rechnung", "kunden", "vertrag", "bestell", "aktenzeichen",
                    "account", "certificate", "permit", "badge", "student")  # fmt: skip
_REFERENCE = re.compile(
    r"(?<![a-z0-9])(?:invoice|claim|policy|ticket|docket|ref(?:erence)?|case|file|contract|customer|booking|reservation"
    r"|tracking|incident|order|member(?:ship)?|patient|employee|matter|warranty|confirmation|account|certificate|permit"
    r"|badge|student|rechnungs?|kunden|vertrags|bestell|aktenzeichen)[ _\-]?"
    r"(?:(?:number|no\.?|nr\.?|num\.?|nummer|id|code|ref(?:erence)?)[\"'`]?\s{0,2}(?:is|was|[:=#])?"
    r"|[\"'`]?\s?[:#=]{1,2}\s?#?)\s{0,2}[\"'`]?#?"
    r"(?P<value>[a-z]{0,6}[\-/]?(?=[a-z0-9\-/]{0,12}\d)[a-z0-9]+(?:[\-/][a-z0-9]+){0,5})(?![\w]|[.,:]\d)",
    re.IGNORECASE,
)
_ORDINARY = re.compile(
    r"\d{4}-\d\d?-\d\d?|\d\d?/\d\d?/\d{2,4}|(?:19|20)\d\d|[a-f0-9]{40}|[a-f0-9]{64}|v\d+", re.IGNORECASE
)


def id_number(text: str) -> Iterator[Hit]:
    """Numbers that an organisation gave to a person, by their customary prefixes."""
    for match in _ID_NUMBER.finditer(text):
        yield match.start(), match.end(), 0.96


_ID_NUMBER = re.compile(
    r"(?<![\w\-])(?:EMP|CUST|USR|USER|ACCT|ACC|PAT|MRN|STU|MEM|CLI|POL|CLM|BADGE)[\-_#:]{0,2}\d{4,12}(?![\w\-])"
)


def device_serial(text: str) -> Iterator[Hit]:
    """Serial numbers that are said to be such."""
    if not holds_any(text.lower(), ("serial", "s/n", "sn:", "seriennummer", "sn#", "device id", "device_id")):
        return
    for match in _SERIAL.finditer(text):
        if sum(map(str.isdigit, match["value"])) >= 2 and len(match["value"]) >= 6:
            yield match.start("value"), match.end("value"), 0.9


_SERIAL = re.compile(
    r"(?<![a-z0-9])(?:serial(?:[ _\-]?(?:number|no\.?|num|nr\.?|#))?|s/n|sn(?=[:#])|seriennummer|device[ _\-]?id)"
    r"[\"'`]?\s{0,2}(?:is|[:=#])?\s{0,2}[\"'`]?(?P<value>(?=[a-z0-9\-]{0,30}\d)[a-z0-9]{2,}(?:-[a-z0-9]+){0,6})(?![\w]|[.:]\d)",
    re.IGNORECASE,
)
