"""A small, whole story for the oracle: four posts of one author, told to two endpoints, with nothing amiss."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from mask_social.chaos.events import wants
from mask_social.chaos.facts import (
    AppealRow,
    AwardRow,
    BoostRow,
    CampaignRow,
    DeliveryRow,
    EndpointRow,
    EventRow,
    Evidence,
    Facts,
    LedgerRow,
    MatchRow,
    NumberRow,
    PhotoRow,
    PostRow,
    RuleRow,
    VerdictRow,
)
from mask_social.chaos.pictures import Kind
from mask_social.chaos.receiver import Log
from mask_social.chaos.traffic import Accepted

AUTHOR = "ada"
BADGE = {"author_id": AUTHOR, "badge": {"code": "first-mask"}}

BOOST = {
    "factor": 1.5,
    "half_life_seconds": 21600,
    "starts_at": "2026-11-21T12:00:00.000001Z",
    "ends_at": "2026-11-22T12:00:00Z",
}
LINE = "masked 1.500000 21600 2026-11-21T12:00:00.000001Z 2026-11-22T12:00:00.000000Z\n"


def told(type_: str, subject: str, number: int, cause: str, **data: Any) -> EventRow:
    """Return an event with an id that says what it is about."""
    kind = "author" if subject == AUTHOR else "post"
    return EventRow(f"evt_{subject}_{number}", type_, kind, subject, number, cause, data)


EVENTS = (
    told("post.analyzed", "masked", 1, "v1", post_id="masked"),
    told("badge.awarded", AUTHOR, 1, "v1", post_id="masked", **BADGE),
    told("donation.matched", "masked", 2, "v1", post_id="masked", match_id="m1"),
    told("boost.started", "masked", 3, "v1", post_id="masked", **BOOST),
    told("post.analyzed", "bare", 1, "v2", post_id="bare"),
    told("appeal.opened", "bare", 2, "a1", post_id="bare", appeal_id="a1"),
    told("appeal.decided", "bare", 3, "a1", post_id="bare", appeal_id="a1"),
    told("post.failed", "deadly", 1, "", post_id="deadly"),
    told("post.analyzed", "withdrawn", 1, "v3", post_id="withdrawn"),
    told("donation.matched", "withdrawn", 2, "v3", post_id="withdrawn", match_id="m2"),
    told("boost.started", "withdrawn", 3, "v3", post_id="withdrawn", **BOOST),
    told("post.withdrawn", "withdrawn", 4, "e", post_id="withdrawn"),
    told("donation.voided", "withdrawn", 5, "e", post_id="withdrawn", match_id="m2"),
    told("boost.ended", "withdrawn", 6, "e", post_id="withdrawn"),
    told("post.analyzed", "repeat", 1, "v4", post_id="repeat"),
    told("donation.declined", "repeat", 2, "v4", post_id="repeat"),
)
ENDPOINTS = (
    EndpointRow("whe_all", "active", (), 0),
    EndpointRow("whe_boosts", "active", ("boost.started", "boost.ended"), 0),
)


def post(name: str, status: str, outcome: str, events: int) -> PostRow:
    """Return a post, made today."""
    return PostRow(name, AUTHOR, status, outcome, f"key-{name}", events, "2026-11-21")


def facts() -> Facts:
    """Return the rows."""
    return Facts(
        posts=(
            post("masked", "analyzed", "masked", 3),
            post("bare", "analyzed", "unmasked", 3),
            post("deadly", "failed", "", 1),
            post("withdrawn", "withdrawn", "masked", 6),
            post("repeat", "analyzed", "masked", 2),
        ),
        photos=tuple(
            PhotoRow(f"pho_{name}", name, f"{name}.jpg", *fate)
            for name, fate in {
                "masked": ("done", 1, ""),
                "bare": ("done", 2, ""),
                "deadly": ("failed", 3, "worker_lost"),
                "withdrawn": ("done", 1, ""),
                "repeat": ("done", 1, ""),
            }.items()
        ),
        verdicts=(
            VerdictRow("v1", "masked", 1, "masked", "model", "matched"),
            VerdictRow("v2", "bare", 1, "unmasked", "model", "not_masked"),
            VerdictRow("v3", "withdrawn", 1, "masked", "model", "matched"),
            VerdictRow("v4", "repeat", 1, "masked", "model", "near_duplicate"),
        ),
        boosts=(BoostRow("v1", "masked", False), BoostRow("v3", "withdrawn", True)),
        matches=(MatchRow("m1", "masked", "c", "reserved", 50), MatchRow("m2", "withdrawn", "c", "voided", 50)),
        campaigns=(CampaignRow("c", 60, 50, 60),),
        ledger=(LedgerRow("m1", "reserved", 50), LedgerRow("m2", "reserved", 50), LedgerRow("m2", "voided", 50)),
        rules=(RuleRow("first-mask", "masked_posts", 1, 0), RuleRow("two-days", "distinct_days", 2, 0)),
        awards=(AwardRow(AUTHOR, "first-mask", "active"),),
        appeals=(AppealRow("a1", "bare", "dismissed"),),
        events=EVENTS,
        deliveries=tuple(
            DeliveryRow(event.id, endpoint.id, "delivered")
            for event in EVENTS
            for endpoint in ENDPOINTS
            if wants(endpoint, event)
        ),
        endpoints=ENDPOINTS,
        numbers=(NumberRow(AUTHOR, 1),),
        counting=frozenset({"masked", "withdrawn"}),
    )


def body(event: EventRow) -> dict[str, Any]:
    """Return an event as a message tells it."""
    return {
        "id": event.id,
        "type": event.type,
        "subject": {"type": event.subject_type, "id": event.subject},
        "sequence": event.sequence,
        "causation_id": event.causation_id,
        "data": dict(event.data),
    }


def logs() -> Mapping[str, Log]:
    """Return what came to each endpoint, the last first: order is the receiver's to find."""
    return {
        endpoint.id: Log({event.id: body(event) for event in reversed(EVENTS) if wants(endpoint, event)})
        for endpoint in ENDPOINTS
    }


def evidence() -> Evidence:
    """Return all of it."""
    rows = facts()
    kinds = {"deadly": Kind.DEADLY}
    return Evidence(
        facts=rows,
        accepted={
            each.caption: Accepted(each.id, each.caption, kinds.get(each.id, Kind.ORDINARY), 1) for each in rows.posts
        },
        offered=frozenset(each.caption for each in rows.posts),
        withdrawn=frozenset({"withdrawn"}),
        logs=logs(),
        files=frozenset(photo.file for photo in rows.photos),
        feed=[event.id for event in EVENTS],
        digest={
            "as_of": "2026-11-21T12:00:01Z",
            "buckets": [
                {
                    "name": f"{number:x}",
                    "count": int(here),
                    "digest": sha256(LINE.encode() if here else b"").hexdigest(),
                }
                for number in range(16)
                for here in [sha256(b"masked").hexdigest().startswith(f"{number:x}")]
            ],
        },
        told={each.id: each.status for each in rows.posts},
        proof="",
    )
