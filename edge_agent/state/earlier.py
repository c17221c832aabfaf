"""What was said before in a session, for a client that does not send it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloud_bridge.protocol.residency import Residency
from edge_agent.state.log import Log, Reader
from edge_agent.state.turns import text_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answered turn lies: its id, its best answer's, and that answer's decision's."""

    turn_id: str
    answer_id: str
    decision_id: str | None


@dataclass(frozen=True, slots=True)
class EarlierTurn:
    """What was asked and answered. `left`: it left this device, masked, when it was; of no other is that known.

    `residency`: the request's own; of a turn that `left` it is known.
    """

    place: Place
    question: str
    answer: str
    left: bool
    residency: Residency | None = None

    def may_leave(self, residency: Residency | None) -> bool:
        """Whether it may leave with a request of that residency of its own: to nobody who could not be asked before."""
        if self.residency is None:
            return self.left
        return self.left and residency is not None and set(residency) <= set(self.residency)


def places(log: Log, session_id: str, *, shown: int, most: int) -> tuple[str, list[Place]] | None:
    """The newest `most` answered turns, the newest first, with the id of their session's key, by which they live.

    None where there are no more turns than the `shown` ones: a client has sent them all.
    """
    with log.reading() as tx:
        key = tx.key_row(session_id)
        sql = "SELECT count(*) FROM (SELECT 1 FROM turns WHERE session_id = ? LIMIT ?)"
        (turns,) = tx.db.execute(sql, (session_id, shown + 1)).fetchone()
        if key is None or turns <= shown:
            return None
        rows = tx.db.execute(
            "SELECT turn_id, id, decision_id, provisional FROM answers WHERE session_id = ?"
            " ORDER BY turn_id DESC, id DESC LIMIT ?",
            (session_id, 2 * most),
        ).fetchall()
    best: dict[str, tuple[bool, Place]] = {}
    for turn_id, answer_id, decision_id, provisional in rows:
        known = best.get(turn_id)
        if known is None or (known[0] and not provisional):
            best[turn_id] = bool(provisional), Place(turn_id, answer_id, decision_id)
    return key[0], [place for _, place in best.values()][:most]


def forgotten(log: Log, keys: Mapping[str, str]) -> list[str]:
    """Of sessions with the ids of their keys, those whose key is not there any more."""
    with log.reading() as tx:
        rows = ((session_id, tx.key_row(session_id)) for session_id in keys)
        return [session_id for session_id, row in rows if row is None or row[0] != keys[session_id]]


def read(log: Log, wanted: Iterable[Place]) -> list[EarlierTurn]:
    """Those turns, without what was forgotten meanwhile."""
    with log.reading() as tx:
        found = (_read(tx, place) for place in wanted)
        return [each for each in found if each is not None]


def _read(tx: Reader, place: Place) -> EarlierTurn | None:
    request, answer = tx.document(place.turn_id), tx.document(place.answer_id)
    if request is None or answer is None:
        return None
    asked = (text_of(each) for each in reversed(request["conversation"]["messages"]) if each["role"] == "user")
    row = tx.row(
        "SELECT json_extract(meta, '$.route') AS route FROM decisions JOIN events ON events.id = event_id"
        " WHERE decisions.id = ?",
        place.decision_id,
    )
    meta = request["meta"]
    left = row is not None and row["route"] in {"cloud", "cache"} and "residency" in meta
    regions = meta.get("residency")
    residency = None if regions is None else tuple(regions)
    return EarlierTurn(place, next(asked, ""), text_of(answer["message"]), left, residency)
