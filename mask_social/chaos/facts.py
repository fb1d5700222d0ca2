"""What the database says, read in one snapshot; what the receivers and the client say is put beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from mask_social.chaos.receiver import Log
from mask_social.chaos.traffic import Accepted

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class PostRow:
    id: str
    author: str
    status: str
    outcome: str
    caption: str
    event_sequence: int
    day: str


@dataclass(frozen=True, slots=True)
class PhotoRow:
    id: str
    post: str
    file: str
    status: str
    attempts: int
    failure_code: str


@dataclass(frozen=True, slots=True)
class VerdictRow:
    id: str
    post: str
    sequence: int
    outcome: str
    source: str
    # None: no rewards were worked out.
    reason: str | None


@dataclass(frozen=True, slots=True)
class BoostRow:
    verdict: str
    post: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class MatchRow:
    id: str
    post: str
    campaign: str
    status: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class CampaignRow:
    id: str
    budget_minor: int
    committed_minor: int
    funded_minor: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    match: str
    kind: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class RuleRow:
    code: str
    kind: str
    threshold: int
    grace_days: int


@dataclass(frozen=True, slots=True)
class AwardRow:
    author: str
    rule: str
    status: str


@dataclass(frozen=True, slots=True)
class AppealRow:
    id: str
    post: str
    status: str


@dataclass(frozen=True, slots=True)
class EventRow:
    id: str
    type: str
    subject_type: str
    subject: str
    sequence: int
    causation_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    event: str
    endpoint: str
    status: str


@dataclass(frozen=True, slots=True)
class EndpointRow:
    id: str
    status: str
    event_types: Sequence[str]
    event_sequence: int


@dataclass(frozen=True, slots=True)
class NumberRow:
    author: str
    event_sequence: int


_STATEMENTS: dict[str, tuple[type[Any], str]] = {
    "posts": (
        PostRow,
        "SELECT p.id, a.external_id AS author, p.status, p.outcome, p.caption, p.event_sequence,"
        " (p.created_at AT TIME ZONE 'UTC')::date::text AS day"
        " FROM moderation_post p JOIN moderation_author a ON a.id = p.author_id",
    ),
    "photos": (
        PhotoRow,
        "SELECT p.id, p.post_id AS post, p.file, a.status, a.attempts, a.failure_code"
        " FROM moderation_photo p JOIN moderation_analysis a ON a.photo_id = p.id",
    ),
    "verdicts": (
        VerdictRow,
        "SELECT v.id, v.post_id AS post, v.sequence, v.outcome, v.source, r.donation_reason AS reason"
        " FROM moderation_verdict v LEFT JOIN incentives_rewardapplication r ON r.verdict_id = v.id",
    ),
    "boosts": (
        BoostRow,
        "SELECT verdict_id AS verdict, post_id AS post, revoked_at IS NOT NULL AS revoked FROM incentives_boost",
    ),
    "matches": (
        MatchRow,
        "SELECT id, post_id AS post, campaign_id AS campaign, status, amount_minor FROM incentives_match",
    ),
    "campaigns": (
        CampaignRow,
        "SELECT c.id, c.budget_minor, c.committed_minor, coalesce((SELECT"
        " sum(CASE kind WHEN 'funded' THEN amount_minor WHEN 'reduced' THEN -amount_minor ELSE 0 END)"
        " FROM incentives_ledgerentry e WHERE e.campaign_id = c.id), 0)::bigint AS funded_minor"
        " FROM incentives_campaign c",
    ),
    "ledger": (
        LedgerRow,
        "SELECT match_id AS match, kind, amount_minor FROM incentives_ledgerentry WHERE match_id IS NOT NULL",
    ),
    "rules": (
        RuleRow,
        "SELECT code, kind, threshold, grace_days FROM incentives_badgerule WHERE is_active",
    ),
    "awards": (
        AwardRow,
        "SELECT a.external_id AS author, b.rule_id AS rule, b.status"
        " FROM incentives_badgeaward b JOIN moderation_author a ON a.id = b.author_id",
    ),
    "appeals": (AppealRow, "SELECT id, post_id AS post, status FROM moderation_appeal"),
    "events": (
        EventRow,
        "SELECT id, type, subject_type, subject_id AS subject, sequence, causation_id, data"
        " FROM incentives_event ORDER BY transaction_id, position",
    ),
    "deliveries": (
        DeliveryRow,
        "SELECT e.id AS event, d.endpoint_id AS endpoint, d.status"
        " FROM incentives_delivery d JOIN incentives_event e ON e.position = d.event_id",
    ),
    "endpoints": (EndpointRow, "SELECT id, status, event_types, event_sequence FROM incentives_webhookendpoint"),
    "numbers": (NumberRow, "SELECT external_id AS author, event_sequence FROM moderation_author"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """The database at one moment; of one platform, for there is no other."""

    posts: Sequence[PostRow] = ()
    photos: Sequence[PhotoRow] = ()
    verdicts: Sequence[VerdictRow] = ()
    boosts: Sequence[BoostRow] = ()
    matches: Sequence[MatchRow] = ()
    campaigns: Sequence[CampaignRow] = ()
    ledger: Sequence[LedgerRow] = ()
    rules: Sequence[RuleRow] = ()
    awards: Sequence[AwardRow] = ()
    appeals: Sequence[AppealRow] = ()
    events: Sequence[EventRow] = ()
    deliveries: Sequence[DeliveryRow] = ()
    endpoints: Sequence[EndpointRow] = ()
    numbers: Sequence[NumberRow] = ()
    # Posts that may count, as they were judged when they were first found masked.
    counting: frozenset[str] = frozenset()
    # What is still to be done.
    changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the oracle goes by."""

    facts: Facts
    accepted: Mapping[str, Accepted] = field(default_factory=dict)
    offered: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    wrongs: Sequence[str] = ()
    # By the endpoint's id.
    logs: Mapping[str, Log] = field(default_factory=dict)
    # Stored files; None where they were not looked at.
    files: frozenset[str] | None = None
    # What GET /api/v1/events told, in its order.
    feed: Sequence[str] | None = None
    # What GET /api/v1/posts told of some: their status.
    told: Mapping[str, str] = field(default_factory=dict)
    # What GET /api/v1/boosts/digest told, in sixteen buckets.
    digest: Mapping[str, Any] | None = None
    proof: str | None = None


def read(connection: "psycopg.Connection[Any]") -> Facts:
    """Read everything, as of one moment; the connection is in no transaction."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = {name: _rows(connection, row, sql) for name, (row, sql) in _STATEMENTS.items()}
        counting = connection.execute("SELECT post_id FROM incentives_claim WHERE ruling = 'counts'").fetchall()
        changes = connection.execute("SELECT post_id FROM incentives_pendingchange").fetchall()
    return Facts(**found, counting=frozenset(row[0] for row in counting), changes=[row[0] for row in changes])


def _rows(connection: "psycopg.Connection[Any]", row: type[Row], sql: str) -> list[Row]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(sql).fetchall()


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What is still on its way."""

    posts: int
    photos: int
    changes: int
    deliveries: int
    matches: int

    @property
    def total(self) -> int:
        """How much in all."""
        return self.posts + self.photos + self.changes + self.deliveries + self.matches

    def __str__(self) -> str:
        named = {
            "posts": self.posts,
            "photos": self.photos,
            "changes": self.changes,
            "deliveries": self.deliveries,
            "matches to settle": self.matches,
        }
        return ", ".join(f"{count} {name}" for name, count in named.items() if count) or "nothing"


_UNSETTLED = """
SELECT (SELECT count(*) FROM moderation_post WHERE status = 'pending') AS posts,
    (SELECT count(*) FROM moderation_analysis WHERE status IN ('pending', 'running')) AS photos,
    (SELECT count(*) FROM incentives_pendingchange) AS changes,
    (SELECT count(*) FROM incentives_delivery WHERE status NOT IN ('delivered', 'failed')) AS deliveries,
    (SELECT count(*) FROM incentives_match WHERE status = 'reserved' AND settle_at <= %(now)s
        AND NOT EXISTS (SELECT FROM moderation_appeal a
                        WHERE a.post_id = incentives_match.post_id AND a.status = 'open')) AS matches
"""


def unsettled(connection: "psycopg.Connection[Any]", now: datetime) -> Unsettled:
    """Count what is still on its way."""
    with connection.cursor(row_factory=class_row(Unsettled)) as cursor:
        return cursor.execute(_UNSETTLED, {"now": now}).fetchall()[0]


def stored_files(folder: Path) -> frozenset[str]:
    """Return the names of all files below a folder, as the rows name them."""
    return frozenset(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
