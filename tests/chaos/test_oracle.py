"""An oracle is worth what it finds: each promise is broken once here, and it must say so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mask_social.chaos import oracle
from mask_social.chaos.events import view_of
from mask_social.chaos.facts import AwardRow, BoostRow, Evidence, LedgerRow, MatchRow, VerdictRow
from mask_social.chaos.pictures import Kind
from mask_social.chaos.receiver import Log
from mask_social.chaos.traffic import Accepted
from tests.chaos import story
from tests.chaos.story import AUTHOR, body, evidence, told

Tamper = Callable[[Evidence], Evidence]


def broken(tampered: Evidence) -> set[str]:
    return {tally.promise for tally in oracle.ask(tampered) if tally.problems}


def rows(name: str, change: Callable[[Any], Any]) -> Tamper:
    """Change one table."""
    return lambda found: replace(found, facts=replace(found.facts, **{name: change(getattr(found.facts, name))}))


def without(name: str, **fields: Any) -> Tamper:
    """Lose the rows that have these values."""
    return rows(name, lambda all_: tuple(row for row in all_ if not _has(row, fields)))


def edited(name: str, which: dict[str, Any], **fields: Any) -> Tamper:
    """Edit the rows that have these values."""
    return rows(name, lambda all_: tuple(replace(row, **fields) if _has(row, which) else row for row in all_))


def also(name: str, *more: Any) -> Tamper:
    """Add rows that should not be there."""
    return rows(name, lambda all_: (*all_, *more))


def with_(**fields: Any) -> Tamper:
    return lambda found: replace(found, **fields)


def log(endpoint: str, change: Callable[[Log], Any]) -> Tamper:
    """Change what came to one endpoint."""

    def tamper(found: Evidence) -> Evidence:
        logs = {name: replace(log, bodies=dict(log.bodies), complaints=[]) for name, log in found.logs.items()}
        change(logs[endpoint])
        return replace(found, logs=logs)

    return tamper


def _has(row: Any, fields: dict[str, Any]) -> bool:
    return all(getattr(row, name) == value for name, value in fields.items())


def test_it_finds_nothing_amiss_where_nothing_is() -> None:
    tallies = oracle.ask(evidence())

    assert [problem for tally in tallies for problem in tally.problems] == []
    assert [tally.promise for tally in tallies if not tally.checked] == []


BREAKS: dict[str, tuple[str, Tamper]] = {
    "an accepted post is lost": ("every accepted post exists, once", without("posts", id="bare")),
    "a key made two posts": (
        "every accepted post exists, once",
        rows("posts", lambda posts: (*posts, replace(posts[1], id="twin"))),
    ),
    "a post came of nothing": (
        "every accepted post exists, once",
        also("posts", story.post("ghost", "withdrawn", "", 0)),
    ),
    "a receipt is for another post": (
        "every accepted post exists, once",
        with_(accepted={"key-bare": Accepted("masked", "key-bare", Kind.ORDINARY, 1)}),
    ),
    "a post never ends": ("every post comes to an end", edited("posts", {"id": "bare"}, status="pending")),
    "a photo is lost": ("every post comes to an end", without("photos", post="bare")),
    "a photo fails without a known reason": (
        "every post comes to an end",
        edited("photos", {"post": "deadly"}, failure_code="photo_missing"),
    ),
    "a photo is given up too soon": ("every post comes to an end", edited("photos", {"post": "deadly"}, attempts=1)),
    "a photo is tried for ever": ("every post comes to an end", edited("photos", {"post": "bare"}, attempts=4)),
    "a deadly photo is not noticed": (
        "every post comes to an end",
        edited("photos", {"post": "deadly"}, status="done", failure_code=""),
    ),
    "a withdrawal is forgotten": (
        "a withdrawn post stays withdrawn",
        edited("posts", {"id": "withdrawn"}, status="analyzed"),
    ),
    "a good client is refused": ("a good client is never refused", with_(wrongs=["a post was answered 400"])),
    "a file is gone": ("every photo has its file", with_(files=frozenset({"bare.jpg"}))),
    "a file is left": (
        "every file has its photo",
        lambda found: replace(found, files=(found.files or frozenset()) | {"orphan.jpg"}),
    ),
    "the model speaks twice": (
        "every verdict is reached once",
        also("verdicts", VerdictRow("v9", "bare", 2, "unmasked", "model", "not_masked")),
    ),
    "a verdict is missing": ("every verdict is reached once", without("verdicts", id="v2")),
    "a verdict's number is skipped": ("every verdict is reached once", edited("verdicts", {"id": "v2"}, sequence=2)),
    "a post says another outcome": ("every verdict is reached once", edited("posts", {"id": "bare"}, outcome="masked")),
    "rewards were never worked out": ("every verdict is applied once", edited("verdicts", {"id": "v1"}, reason=None)),
    "a change is left undone": ("every verdict is applied once", also("changes", "masked")),
    "a boost is doubled": ("every earning post has one boost", also("boosts", BoostRow("v1", "masked", False))),
    "a boost is lost": ("every earning post has one boost", without("boosts", post="masked")),
    "a withdrawn post keeps its boost": (
        "every earning post has one boost",
        edited("boosts", {"post": "withdrawn"}, revoked=False),
    ),
    "a post is matched twice": (
        "every earning post is matched once",
        also("matches", MatchRow("m9", "masked", "c", "settled", 50)),
    ),
    "a match is lost": ("every earning post is matched once", without("matches", post="masked")),
    "a withdrawn post keeps what is only reserved": (
        "every earning post is matched once",
        edited("matches", {"post": "withdrawn"}, status="reserved"),
    ),
    "a repeat is matched": (
        "every earning post is matched once",
        also("matches", MatchRow("m9", "repeat", "c", "reserved", 50)),
    ),
    "a budget is overdrawn": (
        "no budget is overdrawn",
        edited("campaigns", {"id": "c"}, budget_minor=49, funded_minor=49),
    ),
    "a campaign counts wrongly": ("no budget is overdrawn", edited("campaigns", {"id": "c"}, committed_minor=0)),
    "a booking is lost": ("every match is booked once", without("ledger", match="m1")),
    "a booking is doubled": ("every match is booked once", also("ledger", LedgerRow("m1", "reserved", 50))),
    "a booking is over another amount": (
        "every match is booked once",
        edited("ledger", {"match": "m1"}, amount_minor=51),
    ),
    "something is booked for no match": ("every match is booked once", also("ledger", LedgerRow("m9", "reserved", 50))),
    "a badge is lost": ("every badge is earned", without("awards", rule="first-mask")),
    "a badge is not taken back": ("every badge is earned", edited("posts", {"id": "masked"}, status="withdrawn")),
    "a badge is given for nothing": ("every badge is earned", also("awards", AwardRow(AUTHOR, "two-days", "active"))),
    "the command finds the books wrong": ("the ledgers prove", with_(proof="camp_1: an entry is missing")),
    "a verdict is told twice": (
        "every change is told once",
        also("events", told("post.analyzed", "bare", 4, "v2", post_id="bare")),
    ),
    "a boost is not told": ("every change is told once", without("events", type="boost.started", subject="masked")),
    "the end of a boost is not told": ("every change is told once", without("events", type="boost.ended")),
    "a match is told twice": (
        "every change is told once",
        also("events", told("donation.matched", "masked", 4, "v1", post_id="masked", match_id="m1")),
    ),
    "a voided match is not told": ("every change is told once", without("events", type="donation.voided")),
    "a refusal is not told": ("every change is told once", without("events", type="donation.declined")),
    "a failure is not told": ("every change is told once", without("events", type="post.failed")),
    "a decision is not told": ("every change is told once", without("events", type="appeal.decided")),
    "a badge is told twice": (
        "badges come and go in turn",
        also("events", told("badge.awarded", AUTHOR, 2, "v1", **story.BADGE)),
    ),
    "a badge is taken and still held": (
        "badges come and go in turn",
        also("events", told("badge.revoked", AUTHOR, 2, "v1", **story.BADGE)),
    ),
    "an event is lost": ("numbers have no gap", without("events", id="evt_bare_2")),
    "an author's event is lost": ("numbers have no gap", edited("numbers", {"author": AUTHOR}, event_sequence=2)),
    "an event has no subject": ("numbers have no gap", also("events", told("post.failed", "ghost", 1, ""))),
    "an event never came": ("every event is delivered", log("whe_boosts", lambda log: log.bodies.clear())),
    "a delivery is given up": (
        "every event is delivered",
        edited("deliveries", {"event": "evt_bare_1"}, status="failed"),
    ),
    "an event has no delivery": ("every event is delivered", without("deliveries", event="evt_bare_1")),
    "an endpoint stays disabled": (
        "every event is delivered",
        edited("endpoints", {"id": "whe_all"}, status="disabled"),
    ),
    "a rolled back event was sent": (
        "nothing is delivered that did not happen",
        log("whe_all", lambda log: log.bodies.update(ghost=body(told("post.failed", "ghost", 1, "")))),
    ),
    "an event was sent in other words": (
        "nothing is delivered that did not happen",
        log("whe_all", lambda log: log.bodies["evt_bare_1"].update(sequence=2)),
    ),
    "an event was sent to somebody else": (
        "nothing is delivered that did not happen",
        log("whe_boosts", lambda log: log.bodies.update(evt_bare_1=body(story.EVENTS[4]))),
    ),
    "a message is signed wrongly": (
        "every message is signed",
        log("whe_all", lambda log: log.complaints.append("evt_bare_1: its signature is wrong")),
    ),
    "a receiver believes in a boost that ended": (
        "receivers believe what holds",
        log("whe_all", lambda log: log.bodies.pop("evt_withdrawn_6")),
    ),
    "a receiver knows nothing of a badge": (
        "receivers believe what holds",
        log("whe_all", lambda log: log.bodies.pop(f"evt_{AUTHOR}_1")),
    ),
    "a receiver believes in money that was taken back": (
        "receivers believe what holds",
        log("whe_all", lambda log: log.bodies.pop("evt_withdrawn_5")),
    ),
    "a receiver has missed a boost": (
        "the digest is the receivers'",
        log("whe_boosts", lambda log: log.bodies.pop("evt_masked_3")),
    ),
    "a receiver was told another factor": (
        "the digest is the receivers'",
        log("whe_boosts", lambda log: log.bodies["evt_masked_3"]["data"].update(factor=2.0)),
    ),
    "the API says something else": ("the API tells the same", with_(told={"bare": "pending"})),
    "the feed misses an event": (
        "the feed tells the same",
        lambda found: replace(found, feed=[*(found.feed or ())][:-1]),
    ),
    "the feed tells an event twice": (
        "the feed tells the same",
        lambda found: replace(found, feed=[*(found.feed or ()), "evt_bare_1"]),
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_it_finds_a_broken_promise(name: str) -> None:
    promise, tamper = BREAKS[name]

    assert promise in broken(tamper(evidence()))


def test_every_promise_is_broken_once_here() -> None:
    assert {promise for promise, _ in BREAKS.values()} == set(oracle.CHECKS)


def test_a_receiver_believes_the_last_number_and_not_the_last_message() -> None:
    started, ended = (
        body(told(type_, "p", number, "", post_id="p")) for type_, number in (("boost.started", 9), ("boost.ended", 10))
    )

    assert set(view_of([ended, started]).boosted) == set()
    assert set(view_of([started, started]).boosted) == {"p"}
