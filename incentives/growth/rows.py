"""Posts with all that hangs on them, by the million: plain SQL, without triggers and foreign key checks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from incentives import figures, signing
from incentives.models import Campaign, SigningKey, Sponsor, WebhookEndpoint
from incentives.seed.statements import FUNCTIONS
from mask_social.ids import first_id
from moderation import api_keys
from moderation.models import ApiKey, Platform, Policy
from moderation.selectors import current_policy

BLOCK = 500_000
PER_AUTHOR = 20
# The posts are spread over so many days; the youngest is of this moment.
DAYS = 200
CAMPAIGNS = 4
TABLES = (
    "moderation_author",
    "moderation_post",
    "moderation_verdict",
    "incentives_match",
    "incentives_ledgerentry",
    "incentives_boost",
    "incentives_event",
    "incentives_delivery",
)


@dataclass(frozen=True, slots=True)
class World:
    """Whose rows they are, and the key that asks for them."""

    platform: Platform
    endpoint: WebhookEndpoint
    campaigns: Sequence[Campaign]
    policy: Policy
    key: str
    now: datetime


def make_world(now: datetime) -> World:
    """Make the few rows that the millions hang on."""
    platform = Platform.objects.create(id=first_id("plt", now - timedelta(days=DAYS)), slug="grown", name="Grown")
    endpoint = WebhookEndpoint.objects.create(platform=platform, url="https://feed.example.org/hooks")
    SigningKey.objects.bulk_create(signing.new_key(endpoint, scheme) for scheme in SigningKey.Scheme)
    sponsor = Sponsor.objects.create(name="Grown")
    campaigns = [
        Campaign.objects.create(
            sponsor=sponsor,
            platform=platform,
            name=f"Campaign {number}",
            cause="Masks",
            currency="EUR",
            amount_minor=50,
            budget_minor=10**12,
            status=Campaign.Status.ACTIVE,
            starts_at=now - timedelta(days=DAYS),
        )
        for number in range(CAMPAIGNS)
    ]
    key = api_keys.issue_key(platform, name="growth", scopes=tuple(ApiKey.Scope)).plaintext
    return World(platform, endpoint, campaigns, current_policy(platform), key, now)


def grow(world: World, first: int, last: int, progress: Callable[[str], None]) -> None:
    """Write posts number `first` to `last` - 1, the oldest first, and all that hangs on them."""
    with _without_indexes():
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            progress(f"posts {start:,} to {end:,}")
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")
                cursor.execute("SET LOCAL synchronous_commit = off")
                values = _values(world, start, end, last)
                cursor.execute(FUNCTIONS, values)
                for statement in _STATEMENTS:
                    cursor.execute(statement, values)
                # Temporary functions live as long as the connection, which the next block uses again.
                cursor.execute("DROP FUNCTION pg_temp.u, pg_temp.time_part, pg_temp.chance_part")
        progress("indexes")
    progress("what the counters hold, and statistics for the planner")
    with connection.cursor() as cursor:
        _count(cursor, world)
        cursor.execute("VACUUM (ANALYZE)")
    figures.rebuild(world.now)


def _values(world: World, start: int, end: int, last: int) -> dict[str, Any]:
    return {
        "seed": 1,
        "start": start,
        "end": end,
        "now": world.now,
        "step": timedelta(days=DAYS) / last,
        "last": last,
        "platform": world.platform.pk,
        "endpoint": world.endpoint.pk,
        "policy": world.policy.pk,
        "campaigns": [campaign.pk for campaign in world.campaigns],
        "per_author": PER_AUTHOR,
    }


@contextmanager
def _without_indexes() -> Iterator[None]:
    """Write first and index once: the other way round takes twice as long."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)"
            " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname)",
            [list(TABLES)],
        )
        found = cursor.fetchall()
        for name, _ in found:
            cursor.execute(f'DROP INDEX "{name}"')
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET maintenance_work_mem = '1GB'")
            for _, definition in found:
                cursor.execute(definition)


def _count(cursor: Any, world: World) -> None:
    cursor.execute("SET session_replication_role = replica")
    for campaign in world.campaigns:
        cursor.execute(
            "UPDATE incentives_campaign SET last_entry = booked.entries, committed_minor = booked.entries / 2 * 50"
            " FROM (SELECT count(*) AS entries FROM incentives_ledgerentry WHERE campaign_id = %s) booked"
            " WHERE id = %s",
            [campaign.pk, campaign.pk],
        )
    cursor.execute("SET session_replication_role = origin")


# Every second post is masked, boosted, matched and settled: as many entries in the books as posts.
_STATEMENTS = (
    """
    CREATE TEMP TABLE grown ON COMMIT DROP AS
    SELECT n, made, pg_temp.time_part(ms) AS part, n %% 2 = 0 AS masked,
        1000000000 + n / %(per_author)s AS author_id
    FROM (
        SELECT n, made, (extract(epoch FROM made) * 1000)::bigint AS ms FROM (
            SELECT n, %(now)s - %(step)s * (%(last)s - n) AS made
            FROM generate_series(%(start)s::bigint, %(end)s::bigint - 1) AS n
        ) timed
    ) stamped
    """,
    """
    ALTER TABLE grown ADD COLUMN post_id text, ADD COLUMN verdict_id text, ADD COLUMN match_id text;
    UPDATE grown SET post_id = 'post_' || part || pg_temp.chance_part(n, 1),
        verdict_id = 'ver_' || part || pg_temp.chance_part(n, 2), match_id = 'mat_' || part || pg_temp.chance_part(n, 3)
    """,
    """
    INSERT INTO moderation_author (id, platform_id, external_id, time_zone, event_sequence, created_at)
    SELECT author_id, %(platform)s, 'a' || author_id, 'UTC', 0, min(made) FROM grown GROUP BY author_id
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO moderation_post (id, platform_id, author_id, caption, region, status, outcome, request_id,
        event_sequence, received_at, created_at, completed_at)
    SELECT post_id, %(platform)s, author_id, '', 'DE', 'analyzed', CASE WHEN masked THEN 'masked' ELSE 'unmasked' END,
        '', 1, made, made, made FROM grown
    """,
    """
    INSERT INTO moderation_verdict (id, post_id, sequence, outcome, source, policy_id, detector_digest,
        classifier_digest, photo_digests, reason, created_at)
    SELECT verdict_id, post_id, 1, CASE WHEN masked THEN 'masked' ELSE 'unmasked' END, 'model', %(policy)s, 'd', 'c',
        '{p}', '', made FROM grown
    """,
    """
    INSERT INTO incentives_match (id, campaign_id, post_id, author_id, verdict_id, amount_minor, status, day, region,
        created_at, settle_at)
    SELECT match_id, (%(campaigns)s::text[])[1 + (n / 2) %% 4], post_id, author_id, verdict_id, 50,
        'settled', made::date, 'DE', made, made FROM grown WHERE masked
    """,
    """
    INSERT INTO incentives_ledgerentry (campaign_id, number, match_id, kind, amount_minor, day, region, cause, cause_id,
        causation_id, reason, created_at)
    SELECT (%(campaigns)s::text[])[1 + (n / 2) %% 4], (n / 2 / 4) * 2 + step, match_id,
        CASE step WHEN 1 THEN 'reserved' ELSE 'settled' END, 50, made::date, 'DE',
        CASE step WHEN 1 THEN 'verdict' ELSE 'window_over' END, verdict_id, verdict_id, '', made
    FROM grown, generate_series(1, 2) AS step WHERE masked
    """,
    """
    INSERT INTO incentives_boost (verdict_id, post_id, factor, half_life_seconds, cap, starts_at, ends_at)
    SELECT verdict_id, post_id, 1.5, 21600, 3, made, made + interval '1 day' FROM grown WHERE masked
    """,
    """
    CREATE TEMP TABLE told ON COMMIT DROP AS
    SELECT n, made, post_id, author_id, verdict_id, masked, 'evt_' || part || pg_temp.chance_part(n, 4) AS id,
        'del_' || part || pg_temp.chance_part(n, 5) AS delivery_id,
        nextval(pg_get_serial_sequence('incentives_event', 'position')) AS position
    FROM grown
    """,
    """
    INSERT INTO incentives_event (position, transaction_id, id, platform_id, type, subject_type, subject_id, sequence,
        causation_id, request_id, data, created_at)
    SELECT position, 3 + n * 500 / %(last)s, id, %(platform)s, 'post.analyzed', 'post', post_id, 1, verdict_id, '',
        jsonb_build_object('post_id', post_id, 'author_id', 'a' || author_id,
            'outcome', CASE WHEN masked THEN 'masked' ELSE 'unmasked' END), made
    FROM told ORDER BY position
    """,
    """
    INSERT INTO incentives_delivery (id, event_id, endpoint_id, status, due_at, tries, created_at, delivered_at)
    SELECT delivery_id, position, %(endpoint)s, 'delivered', made, 1, made, made FROM told
    """,
)
