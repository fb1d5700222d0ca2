"""Proof that a campaign's books are true: everything is worked out anew from the entries, and compared.

One statement does it, so that it looks at one moment while bookings go on, and holds nobody up.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from incentives.models import Campaign, LedgerProof
from moderation import audit as audit_log
from moderation.audit import Deed
from moderation.models import AuditEntry

logger = logging.getLogger(__name__)

# Enough to see what kind of harm was done.
PROBLEMS_SHOWN = 50

_STATEMENT = """
WITH campaign AS (
    SELECT * FROM incentives_campaign WHERE id = %(campaign)s
), entry AS MATERIALIZED (
    SELECT number, match_id, kind, amount_minor AS amount, day, region
    FROM incentives_ledgerentry WHERE campaign_id = %(campaign)s
), running AS (
    SELECT number, lag(number, 1, 0::bigint) OVER in_order AS before,
        sum(CASE kind WHEN 'funded' THEN amount WHEN 'reduced' THEN -amount ELSE 0 END) OVER in_order AS budget,
        sum(CASE WHEN kind = 'reserved' THEN amount WHEN kind IN ('voided', 'refunded') THEN -amount ELSE 0 END)
            OVER in_order AS committed
    FROM entry WINDOW in_order AS (ORDER BY number)
), total AS (
    SELECT count(*) AS entries, coalesce(max(number), 0) AS last,
        coalesce(sum(amount) FILTER (WHERE kind = 'funded'), 0)
            - coalesce(sum(amount) FILTER (WHERE kind = 'reduced'), 0) AS budget,
        coalesce(sum(amount) FILTER (WHERE kind = 'reserved'), 0) AS reserved,
        coalesce(sum(amount) FILTER (WHERE kind = 'settled'), 0) AS settled,
        coalesce(sum(amount) FILTER (WHERE kind = 'voided'), 0) AS voided,
        coalesce(sum(amount) FILTER (WHERE kind = 'refunded'), 0) AS refunded
    FROM entry
), told AS (
    -- What the entries tell of each match; of its first step the day and region that caps count.
    SELECT match_id AS id, string_agg(kind, ' ' ORDER BY number) AS steps, min(amount) AS least, max(amount) AS most,
        min(day) FILTER (WHERE kind = 'reserved') AS day, min(region) AS region, max(region) AS other_region
    FROM entry WHERE match_id IS NOT NULL GROUP BY match_id
), match AS (
    SELECT id, status, amount_minor AS amount, day, region
    FROM incentives_match WHERE campaign_id = %(campaign)s
), compared AS (
    -- A full join is hashed or merged whatever the planner believes of the sizes; a nested loop would never end.
    SELECT coalesce(match.id, told.id) AS id, status, steps, amount, least, most, match.day, told.day AS told_day,
        match.region, told.region AS told_region, other_region
    FROM match FULL JOIN told ON match.id = told.id
), booked AS (
    SELECT day, region,
        coalesce(sum(amount) FILTER (WHERE kind = 'reserved'), 0) AS reserved,
        coalesce(sum(amount) FILTER (WHERE kind = 'settled'), 0) AS settled,
        coalesce(sum(amount) FILTER (WHERE kind = 'voided'), 0) AS voided,
        coalesce(sum(amount) FILTER (WHERE kind = 'refunded'), 0) AS refunded,
        count(*) FILTER (WHERE kind = 'reserved') AS reserved_count,
        count(*) FILTER (WHERE kind = 'settled') AS settled_count,
        count(*) FILTER (WHERE kind = 'voided') AS voided_count,
        count(*) FILTER (WHERE kind = 'refunded') AS refunded_count
    FROM entry WHERE match_id IS NOT NULL GROUP BY day, region
), standing AS (
    SELECT day, region, sum(most) AS standing
    FROM told WHERE steps IN ('reserved', 'reserved settled') GROUP BY day, region
), worked_out AS (
    SELECT coalesce(booked.day, standing.day) AS day, coalesce(booked.region, standing.region) AS region,
        ARRAY[coalesce(reserved, 0), coalesce(settled, 0), coalesce(voided, 0), coalesce(refunded, 0),
            coalesce(reserved_count, 0), coalesce(settled_count, 0), coalesce(voided_count, 0),
            coalesce(refunded_count, 0), coalesce(standing, 0)]::bigint[] AS sums
    FROM booked FULL JOIN standing ON booked.day = standing.day AND booked.region = standing.region
), kept AS (
    SELECT day, region,
        ARRAY[reserved_minor, settled_minor, voided_minor, refunded_minor,
            reserved_count, settled_count, voided_count, refunded_count, standing_minor]::bigint[] AS sums
    FROM incentives_campaignday WHERE campaign_id = %(campaign)s
), problem AS (
    SELECT 1 AS rank, number AS place, format('entry %%s follows entry %%s', number, before) AS text
    FROM running WHERE number <> before + 1
    UNION ALL
    SELECT 2, 0, format('the last entry is %%s, the campaign says %%s', last, last_entry)
    FROM total, campaign WHERE last <> last_entry
    UNION ALL
    SELECT 3, number, format('at entry %%s %%s are promised of a budget of %%s', number, committed, budget)
    FROM running WHERE committed > budget OR committed < 0
    UNION ALL
    SELECT 4, 0, format('the campaign says a budget of %%s, its ledger %%s', budget_minor, budget)
    FROM total, campaign WHERE budget <> budget_minor
    UNION ALL
    SELECT 5, 0, format('the campaign says %%s, its ledger %%s', committed_minor, reserved - voided - refunded)
    FROM total, campaign WHERE reserved - voided - refunded <> committed_minor
    UNION ALL
    SELECT 6, 0, format('%%s is %%s, its ledger has %%s', id, coalesce(status, 'not of this campaign'),
        coalesce(steps, 'nothing'))
    FROM compared
    WHERE (status, steps) IS DISTINCT FROM ('reserved', 'reserved')
        AND (status, steps) IS DISTINCT FROM ('settled', 'reserved settled')
        AND (status, steps) IS DISTINCT FROM ('voided', 'reserved voided')
        AND (status, steps) IS DISTINCT FROM ('refunded', 'reserved settled refunded')
    UNION ALL
    SELECT 7, 0, format('%%s is over %%s, its ledger over %%s', id, amount,
        CASE WHEN least = most THEN least::text ELSE least || ' to ' || most END)
    FROM compared WHERE least <> amount OR most <> amount
    UNION ALL
    SELECT 8, 0, format('%%s was reserved on %%s in "%%s", its ledger says on %%s in "%%s"',
        id, day, region, told_day, told_region)
    FROM compared WHERE day <> told_day OR region <> told_region OR region <> other_region
    UNION ALL
    SELECT 9, 0, format('on %%s in "%%s" the sums are kept as %%s, the entries give %%s',
        coalesce(kept.day, worked_out.day), coalesce(kept.region, worked_out.region),
        coalesce(kept.sums::text, 'nothing'), coalesce(worked_out.sums::text, 'nothing'))
    FROM kept FULL JOIN worked_out ON kept.day = worked_out.day AND kept.region = worked_out.region
    WHERE kept.sums IS DISTINCT FROM worked_out.sums
        AND (worked_out.sums IS NOT NULL OR kept.sums <> array_fill(0::bigint, ARRAY[9]))
), shown AS (
    SELECT text FROM problem ORDER BY rank, place, text LIMIT %(shown)s
)
SELECT row_to_json(total), (SELECT coalesce(json_agg(text), '[]') FROM shown), (SELECT count(*) FROM problem) FROM total
"""


# In parts, because no text may be longer than a gigabyte.
_DIGEST = """
SELECT coalesce(sum(entries), 0), encode(sha256(coalesce(string_agg(part, ''::bytea ORDER BY place), ''::bytea)), 'hex')
FROM (
    SELECT number / 10000 AS place, count(*) AS entries,
        sha256(convert_to(string_agg(json_build_array(number, match_id, kind, amount_minor, day, region, cause,
            cause_id, causation_id, reason)::text, chr(10) ORDER BY number), 'UTF8')) AS part
    FROM incentives_ledgerentry WHERE campaign_id = %(campaign)s AND number <= %(last)s
    GROUP BY place
) AS parts
"""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the ledger says of a campaign, and where it and the other rows disagree.

    The sums are of all that was ever booked, but `reserved_minor` is what is promised and neither paid nor given back.
    """

    entries: int
    budget_minor: int
    reserved_minor: int
    settled_minor: int
    voided_minor: int
    refunded_minor: int
    problems: tuple[str, ...]

    @property
    def committed_minor(self) -> int:
        """What is promised or paid."""
        return self.reserved_minor + self.settled_minor - self.refunded_minor


def audit(campaign: Campaign) -> Audit:
    """Add up a campaign's ledger from its first entry, and compare with all that is derived from it."""
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, {"campaign": campaign.pk, "shown": PROBLEMS_SHOWN})
        [(total, problems, found)] = cursor.fetchall()
    total, problems = (json.loads(value) if isinstance(value, str) else value for value in (total, problems))
    if found > len(problems):
        problems.append(f"and {found - len(problems)} more")
    return Audit(
        entries=total["entries"],
        budget_minor=total["budget"],
        reserved_minor=total["reserved"] - total["settled"] - total["voided"],
        settled_minor=total["settled"],
        voided_minor=total["voided"],
        refunded_minor=total["refunded"],
        problems=tuple(problems),
    )


def prove(campaign: Campaign, now: datetime) -> LedgerProof:
    """Audit a campaign, keep what was found, and anchor its books in the audit log of the staff."""
    found = audit(campaign)
    rewritten = _rewritten(campaign)
    last = campaign.entries.order_by("-number").values_list("number", flat=True).first() or 0
    entries, digest = _digest(campaign, last)
    with transaction.atomic():
        proof = _keep(campaign, now, found, [*found.problems, *rewritten])
        if not rewritten:  # else the last good one stays to compare with
            audit_log.record(Deed.to(campaign, "prove", {"last_entry": last, "entries": entries, "digest": digest}))
    return proof


def _digest(campaign: Campaign, last: int) -> tuple[int, str]:
    """Return how many entries there are up to a number, and a digest of them."""
    with connection.cursor() as cursor:
        cursor.execute(_DIGEST, {"campaign": campaign.pk, "last": last})
        [(entries, digest)] = cursor.fetchall()
    return int(entries), digest


def _rewritten(campaign: Campaign) -> list[str]:
    """Say whether the entries that were there at the last proof are still the same."""
    proofs = AuditEntry.objects.filter(object_type=campaign._meta.label_lower, object_id=campaign.pk, action="prove")
    anchor = proofs.order_by("-number").first()
    if anchor is None or _digest(campaign, anchor.details["last_entry"])[1] == anchor.details["digest"]:
        return []
    return [f"its entries up to {anchor.details['last_entry']} are not those of entry {anchor.number} of the audit log"]


def _keep(campaign: Campaign, now: datetime, found: Audit, problems: Sequence[str]) -> LedgerProof:
    return LedgerProof.objects.create(
        campaign=campaign,
        ran_at=now,
        entries=found.entries,
        # Books that were tampered with may come to less than nothing, which a problem says; the columns cannot.
        budget_minor=max(0, found.budget_minor),
        reserved_minor=max(0, found.reserved_minor),
        settled_minor=found.settled_minor,
        voided_minor=found.voided_minor,
        refunded_minor=found.refunded_minor,
        problems=list(problems),
    )


def prove_all(now: datetime) -> int:
    """Prove the books of every campaign, of ended ones too; log what is wrong, and return how many are."""
    wrong = 0
    for campaign in Campaign.objects.order_by("pk"):
        found = prove(campaign, now)
        wrong += bool(found.problems)
        for problem in found.problems:
            logger.error("The books of %s are wrong: %s.", campaign.pk, problem)
    return wrong
