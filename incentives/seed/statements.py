"""The posts of the seed and all that was seen and decided on them, as set-based SQL.

One row of `seed_post` is a post with its whole story; the other tables are written from it. Chance is a hash of the
post's number, so the same seed tells the same story. `u(n, k)` is the k-th chance of n, in [0, 1).
"""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME = " || ".join(f"substr('{_ALPHABET}', ((ms >> {5 * place}) & 31)::int + 1, 1)" for place in range(9, -1, -1))

FUNCTIONS = f"""
CREATE FUNCTION pg_temp.u(n bigint, k int) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    $$ SELECT (hashint8extended(n, %(seed)s * 1000 + k) & 9007199254740991)::float8 / 9007199254740992 $$;
CREATE FUNCTION pg_temp.time_part(ms bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT {_TIME} $$;
CREATE FUNCTION pg_temp.chance_part(n bigint, k int) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT lpad(to_hex(hashint8extended(n, %(seed)s * 1000 + k)), 16, '0') $$;
"""

TABLES = """
CREATE TEMP TABLE seed_author (
    n int, id bigint DEFAULT nextval(pg_get_serial_sequence('moderation_author', 'id')), external_id text,
    region text, time_zone text, hours float8, keen float8, registered_at timestamptz, held_before bool, held_now bool
) ON COMMIT DROP;
CREATE TEMP TABLE seed_day (starts_at timestamptz, lasts interval, first bigint, posts bigint) ON COMMIT DROP;
CREATE TEMP TABLE seed_picture (
    k int, file text, digest text, width int, height int, size int
) ON COMMIT DROP;
CREATE TEMP TABLE seed_box (k int, position int, x1 float8, y1 float8, x2 float8, y2 float8, score float8)
ON COMMIT DROP;
CREATE TEMP TABLE seed_money (post_id text, reason text, campaign_id text, status text) ON COMMIT DROP;
"""

# Each step is materialized: otherwise its expressions would be worked out again wherever the next steps name them. And
# time_part is given plain columns, for only then does the planner write it out in place of calling it.
#
# A few authors post a dozen within minutes: twelve numbers in a row are theirs. The busiest author posts some twenty
# times as much as the average one, by a shifted Zipf law.
POSTS = """
CREATE TEMP TABLE seed_post ON COMMIT DROP AS
WITH drawn AS (
    SELECT n, starts_at, lasts, (n / 12) AS gang, pg_temp.u(n / 12, 1) < 0.002 AS in_burst
    FROM seed_day, generate_series(seed_day.first, seed_day.first + posts - 1) AS n
), keyed AS (
    SELECT *, CASE WHEN in_burst THEN -gang - 1 ELSE n END AS key FROM drawn
), ranked AS (
    SELECT *, least(%(authors)s - 1, greatest(0, floor((%(authors)s + %(shift)s)
        * power(%(least)s + pg_temp.u(key, 2) * (1 - %(least)s), 2) - %(shift)s)))::int AS author_n
    FROM keyed
), placed AS (
    SELECT ranked.n, gang, in_burst, starts_at, lasts, author.n AS author_n, author.id AS author_id, author.region,
        author.time_zone, author.keen, author.held_before, author.held_now,
        0.28 + 0.375 * (pg_temp.u(key, 3) + pg_temp.u(key, 4)) - author.hours / 24 + 2 AS turn
    FROM ranked JOIN seed_author author ON author.n = ranked.author_n
), timed AS MATERIALIZED (
    SELECT *, least(%(now)s - interval '2 minutes', starts_at + lasts * (turn - floor(turn))
        + interval '20 seconds' * CASE WHEN in_burst THEN n %% 12 ELSE 0 END) AS created_at
    FROM placed
), seen AS MATERIALIZED (
    SELECT *, created_at + interval '1 second' * (0.4 + 4 * pg_temp.u(n, 5)) AS judged_at,
        created_at >= %(now)s - interval '30 days' AS is_recent,
        CASE
            WHEN pg_temp.u(n, 6) < 0.004 THEN 'failed'
            WHEN pg_temp.u(n, 7) < 0.14 THEN 'no_face'
            WHEN pg_temp.u(n, 7) < 0.18 THEN 'uncertain'
            WHEN pg_temp.u(n, 8) < keen
                * (1 + 0.2 * extract(epoch FROM created_at - %(starts)s) / extract(epoch FROM %(now)s - %(starts)s))
                / CASE
                    WHEN held_before AND created_at >= %(before_starts)s AND created_at < %(before_ends)s
                    THEN %(before_lift)s
                    WHEN held_now AND created_at >= %(now_starts)s THEN %(now_lift)s
                    ELSE 1
                END THEN 'masked'
            WHEN pg_temp.u(n, 9) < 0.62 THEN 'unmasked'
            WHEN pg_temp.u(n, 9) < 0.82 THEN 'incorrect'
            ELSE 'partly_masked'
        END AS first
    FROM timed
), taken AS MATERIALIZED (
    SELECT *, CASE WHEN first <> 'failed' AND pg_temp.u(n, 10) < 0.012
        THEN judged_at + interval '72 hours' * pg_temp.u(n, 11) END AS maybe_withdrawn_at,
        judged_at + interval '1 hour' * (0.5 + 20 * pg_temp.u(n, 13)) AS maybe_appeal_at,
        judged_at + interval '1 hour' * (2 + 38 * pg_temp.u(n, 14)) AS reviewed_at
    FROM seen
), doubted AS MATERIALIZED (
    SELECT *, CASE WHEN maybe_withdrawn_at < %(now)s THEN maybe_withdrawn_at END AS withdrawn_at,
        CASE
            WHEN maybe_withdrawn_at IS NOT NULL THEN NULL
            WHEN first = 'uncertain' AND pg_temp.u(n, 12) < 0.9 AND reviewed_at < %(now)s THEN 'reviewer'
            WHEN first = 'masked' AND pg_temp.u(n, 12) < 0.006 AND reviewed_at < %(now)s THEN 'reviewer'
            WHEN first IN ('unmasked', 'incorrect', 'partly_masked') AND pg_temp.u(n, 12) < 0.02
                AND maybe_appeal_at < %(now)s THEN 'appeal'
        END AS by
    FROM taken
), decided AS MATERIALIZED (
    SELECT *, CASE WHEN by = 'appeal' THEN maybe_appeal_at END AS appeal_at,
        CASE WHEN by = 'appeal' THEN maybe_appeal_at + interval '1 hour' * (6 + 54 * pg_temp.u(n, 15)) END AS heard_at,
        pg_temp.u(n, 16) AS mercy
    FROM doubted
), ended AS MATERIALIZED (
    SELECT *, CASE
            WHEN by = 'reviewer' AND first = 'masked' THEN 'incorrect'
            WHEN by = 'reviewer' THEN CASE WHEN mercy < 0.55 THEN 'masked' ELSE 'unmasked' END
            WHEN by = 'appeal' AND heard_at < %(now)s AND mercy < 0.35 THEN 'masked'
        END AS second,
        CASE WHEN by = 'reviewer' THEN reviewed_at WHEN by = 'appeal' AND heard_at < %(now)s THEN heard_at END
            AS second_at
    FROM decided
), stamped AS MATERIALIZED (
    SELECT *, (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
        (extract(epoch FROM judged_at) * 1000)::bigint AS judged_ms,
        (extract(epoch FROM second_at) * 1000)::bigint AS second_ms,
        (extract(epoch FROM appeal_at) * 1000)::bigint AS appeal_ms
    FROM ended
), named AS MATERIALIZED (
    SELECT *, pg_temp.time_part(created_ms) AS created_part FROM stamped
)
SELECT n, gang, in_burst, author_n, author_id, region, time_zone, created_at, judged_at, is_recent, first, second,
    second_at, by, appeal_at, withdrawn_at, held_before, held_now,
    CASE WHEN first = 'failed' THEN 'failed' WHEN withdrawn_at IS NULL THEN 'analyzed' ELSE 'withdrawn' END AS status,
    coalesce(second, first) AS last,
    'post_' || created_part || pg_temp.chance_part(n, 101) AS id,
    'pho_' || created_part || pg_temp.chance_part(n, 102) AS photo_id,
    'pho_' || created_part || pg_temp.chance_part(n, 103) AS other_photo_id,
    CASE WHEN first <> 'failed' THEN 'ver_' || pg_temp.time_part(judged_ms) || pg_temp.chance_part(n, 104) END
        AS first_id,
    CASE WHEN second IS NOT NULL THEN 'ver_' || pg_temp.time_part(second_ms) || pg_temp.chance_part(n, 105) END
        AS second_id,
    CASE WHEN appeal_at IS NOT NULL THEN 'apl_' || pg_temp.time_part(appeal_ms) || pg_temp.chance_part(n, 106) END
        AS appeal_id,
    pg_temp.u(n, 17) < 0.12 AS has_two,
    CASE first WHEN 'masked' THEN (pg_temp.u(n, 18) < 0.4)::int WHEN 'unmasked' THEN 2 WHEN 'incorrect' THEN 3
        WHEN 'partly_masked' THEN 4 WHEN 'uncertain' THEN 1 ELSE 5 END AS picture,
    CASE WHEN is_recent THEN decode(pg_temp.chance_part(n, 21) || pg_temp.chance_part(n, 22)
        || pg_temp.chance_part(n, 23) || pg_temp.chance_part(n, 24), 'hex') END AS pdq
FROM named ORDER BY created_at;
CREATE UNIQUE INDEX ON seed_post (id);
ANALYZE seed_post;
"""

# Whatever was ever found masked is judged against farming. A near-duplicate is one of the author's first recent photo.
CLAIMS = """
CREATE TEMP TABLE seed_claim ON COMMIT DROP AS
WITH judged AS (
    SELECT id, n, author_id, created_at, time_zone, in_burst, withdrawn_at, is_recent,
        CASE WHEN first = 'masked' THEN judged_at ELSE second_at END AS earned_at,
        CASE WHEN first = 'masked' THEN first_id ELSE second_id END AS verdict_id,
        CASE WHEN first = 'masked' AND second IS NOT NULL THEN second_at ELSE withdrawn_at END AS lost_at,
        (created_at AT TIME ZONE time_zone)::date AS day,
        first_value(n) OVER first_photo AS earlier_n
    FROM seed_post WHERE first = 'masked' OR second = 'masked'
    WINDOW first_photo AS (PARTITION BY author_id, is_recent AND withdrawn_at IS NULL ORDER BY created_at, n)
), compared AS (
    SELECT *, is_recent AND withdrawn_at IS NULL AND earlier_n <> n AND (in_burst OR pg_temp.u(n, 31) < 0.012)
        AS is_copy
    FROM judged
)
SELECT *, CASE WHEN is_copy THEN 'near_duplicate'
        WHEN row_number() OVER (PARTITION BY author_id, day, is_copy ORDER BY created_at, n) > %(posts_per_day)s
        THEN 'daily_limit' ELSE 'counts' END AS ruling,
    floor(3 * pg_temp.u(n, 32))::int AS distance
FROM compared;
CREATE UNIQUE INDEX ON seed_claim (id);
CREATE UNIQUE INDEX ON seed_claim (n);
ANALYZE seed_claim;

CREATE TEMP TABLE seed_copy ON COMMIT DROP AS
SELECT claim.n, earlier.picture, CASE claim.distance WHEN 0 THEN earlier.pdq
        WHEN 1 THEN set_bit(earlier.pdq, 77, 1 - get_bit(earlier.pdq, 77))
        ELSE set_bit(set_bit(earlier.pdq, 77, 1 - get_bit(earlier.pdq, 77)), 200, 1 - get_bit(earlier.pdq, 200))
    END AS pdq
FROM seed_claim claim JOIN seed_post earlier ON earlier.n = claim.earlier_n WHERE claim.is_copy;
UPDATE seed_post SET picture = copy.picture, pdq = copy.pdq FROM seed_copy copy WHERE copy.n = seed_post.n;
"""

_PHOTO_ROWS = """
    SELECT post.*, 0 AS place, post.photo_id AS this_id, post.picture AS this_picture, post.pdq AS this_pdq
    FROM seed_post post
    UNION ALL
    SELECT post.*, 1, other_photo_id, 5, CASE WHEN is_recent THEN decode(pg_temp.chance_part(n, 25)
        || pg_temp.chance_part(n, 26) || pg_temp.chance_part(n, 27) || pg_temp.chance_part(n, 28), 'hex') END
    FROM seed_post post WHERE has_two
"""

#: What is shown while it runs, and the statement.
SEEN: tuple[tuple[str, str], ...] = (
    (
        "authors",
        """
        INSERT INTO moderation_author (id, platform_id, external_id, time_zone, registered_at, event_sequence,
            created_at)
        SELECT author.id, %(platform)s, author.external_id, author.time_zone, author.registered_at, 0, made.first
        FROM seed_author author
        JOIN (SELECT author_id, min(created_at) AS first FROM seed_post GROUP BY author_id) made
          ON made.author_id = author.id
        """,
    ),
    (
        "posts",
        """
        INSERT INTO moderation_post (id, platform_id, author_id, caption, region, status, outcome, request_id,
            event_sequence, received_at, created_at, completed_at, withdrawn_at)
        SELECT id, %(platform)s, author_id, (ARRAY['Out and about', 'Groceries', 'On the train', 'With friends',
            'Sunday walk', 'At work', 'Market day', ''])[1 + floor(8 * pg_temp.u(n, 33))::int], region, status,
            CASE last WHEN 'failed' THEN '' ELSE last END, '', 0,
            created_at - interval '0.2 seconds', created_at, judged_at, withdrawn_at
        FROM seed_post ORDER BY created_at
        """,
    ),
    (
        "photos",
        f"""
        INSERT INTO moderation_photo (id, post_id, position, file, digest, width, height, size, original_format,
            source_url, pdq, pdq_quality)
        SELECT this_id, rows.id, place, file, digest, width, height, size, 'JPEG', '',
            this_pdq, CASE WHEN is_recent THEN 60 + floor(40 * pg_temp.u(n, 34))::int END
        FROM ({_PHOTO_ROWS}) rows JOIN seed_picture picture ON picture.k = rows.this_picture ORDER BY this_id
        """,  # noqa: S608 - of constants
    ),
    (
        "analyses",
        f"""
        INSERT INTO moderation_analysis (photo_id, status, attempts, requeue_at, queued_at, started_at, finished_at,
            decode_ms, detect_ms, classify_ms, detector_digest, classifier_digest, failure_code, failure_detail)
        SELECT this_id, CASE WHEN first = 'failed' THEN 'failed' ELSE 'done' END,
            CASE WHEN first = 'failed' THEN 3 ELSE 1 END, created_at, created_at,
            judged_at - (judged_at - created_at) * 0.3, judged_at, 4 + 9 * pg_temp.u(n, 35),
            60 + 120 * pg_temp.u(n, 36), 3 + 9 * pg_temp.u(n, 37),
            CASE WHEN first = 'failed' THEN '' ELSE %(detector)s END,
            CASE WHEN first = 'failed' THEN '' ELSE %(classifier)s END,
            CASE WHEN first = 'failed' THEN 'worker_lost' ELSE '' END,
            CASE WHEN first = 'failed' THEN 'It brought down its worker.' ELSE '' END
        FROM ({_PHOTO_ROWS}) rows ORDER BY this_id
        """,  # noqa: S608 - of constants
    ),
    (
        "faces",
        """
        INSERT INTO moderation_face (analysis_id, position, x1, y1, x2, y2, score, mask, no_mask, incorrect, occluded)
        SELECT photo_id, position, x1, y1, x2, y2, score,
            CASE state WHEN 'mask' THEN sure WHEN 'doubt' THEN 0.42 + 3 * rest ELSE rest END,
            CASE state WHEN 'no_mask' THEN sure WHEN 'doubt' THEN 0.3 ELSE rest END,
            CASE state WHEN 'incorrect' THEN sure WHEN 'doubt' THEN 0.14 ELSE rest END,
            CASE state WHEN 'doubt' THEN 0.14 - 3 * rest ELSE rest END
        FROM (
            SELECT post.photo_id, box.*, 0.91 + 0.08 * pg_temp.u(post.n, 40 + box.position) AS sure,
                (0.09 - 0.08 * pg_temp.u(post.n, 40 + box.position)) / 3 AS rest,
                CASE first WHEN 'masked' THEN 'mask' WHEN 'unmasked' THEN 'no_mask' WHEN 'incorrect' THEN 'incorrect'
                    WHEN 'uncertain' THEN 'doubt' ELSE CASE WHEN box.position = 0 THEN 'no_mask' ELSE 'mask' END
                END AS state
            FROM seed_post post JOIN seed_box box ON box.k = post.picture WHERE first <> 'failed'
        ) seen ORDER BY photo_id, position
        """,
    ),
    (
        "verdicts",
        """
        INSERT INTO moderation_verdict (id, post_id, sequence, outcome, source, policy_id, detector_digest,
            classifier_digest, photo_digests, decided_by_id, reason, created_at)
        SELECT verdict_id, post_id, sequence, outcome, source, %(policy)s, %(detector)s, %(classifier)s, digests,
            CASE WHEN source <> 'model' THEN %(user)s::int END,
            CASE source WHEN 'model' THEN '' WHEN 'appeal' THEN 'The mask is on; the light is poor.'
                ELSE 'Looked at by a person.' END, made
        FROM (
            SELECT judged.*, CASE WHEN has_two THEN ARRAY[picture.digest, other.digest] ELSE ARRAY[picture.digest] END
                AS digests
            FROM (
                SELECT first_id AS verdict_id, id AS post_id, 1 AS sequence, first AS outcome, 'model' AS source,
                    judged_at AS made, picture, has_two FROM seed_post WHERE first_id IS NOT NULL
                UNION ALL
                SELECT second_id, id, 2, second, by, second_at, picture, has_two FROM seed_post
                WHERE second_id IS NOT NULL
            ) judged
            JOIN seed_picture picture ON picture.k = judged.picture
            JOIN seed_picture other ON other.k = 5
        ) rows ORDER BY made
        """,
    ),
    (
        "appeals",
        """
        INSERT INTO moderation_appeal (id, post_id, against_id, verdict_id, statement, status, decided_by_id, answer,
            created_at, decided_at)
        SELECT appeal_id, id, first_id, second_id, 'The mask is on.',
            CASE WHEN second_at IS NULL THEN 'open' WHEN second IS NULL THEN 'dismissed' ELSE 'upheld' END,
            CASE WHEN second_at IS NOT NULL THEN %(user)s::int END,
            CASE WHEN second_at IS NULL THEN '' WHEN second IS NULL THEN 'A face without a mask can be seen.'
                ELSE 'You are right; thank you.' END, appeal_at, second_at
        FROM seed_post WHERE appeal_at IS NOT NULL ORDER BY appeal_at
        """,
    ),
    (
        "fingerprints",
        """
        INSERT INTO incentives_fingerprint (photo_id, platform_id, post_id, pdq, keys, registered_at)
        SELECT photo_id, %(platform)s, claim.id, pdq,
            ARRAY(SELECT (get_byte(pdq, start) << 16) | (get_byte(pdq, start + 1) << 8) | get_byte(pdq, start + 2)
                  FROM generate_series(0, 27, 3) start ORDER BY start) || (get_byte(pdq, 30) << 8 | get_byte(pdq, 31)),
            earned_at
        FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
        WHERE claim.is_recent AND ruling = 'counts' AND claim.withdrawn_at IS NULL
        """,
    ),
    (
        "posts that count",
        """
        INSERT INTO incentives_countedpost (post_id, verdict_id, author_id, day, region, created_at)
        SELECT claim.id, verdict_id, claim.author_id, day, region, claim.created_at
        FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
        WHERE ruling = 'counts' AND lost_at IS NULL ORDER BY claim.created_at
        """,
    ),
    (
        "flags",
        """
        INSERT INTO incentives_flag (author_id, kind, day, count, post_id, status, note, decided_by_id, created_at,
            decided_at)
        SELECT author_id, kind, day, number, post_id, CASE WHEN old THEN
                CASE WHEN pg_temp.u(author_id, 38) < 0.5 THEN 'confirmed' ELSE 'dismissed' END ELSE 'open' END,
            CASE WHEN old THEN 'Looked at.' ELSE '' END, CASE WHEN old THEN %(user)s::int END, made,
            CASE WHEN old THEN made + interval '20 hours' END
        FROM (
            SELECT *, made < %(now)s - interval '4 days' AS old FROM (
                SELECT author_id, 'velocity' AS kind, (created_at AT TIME ZONE time_zone)::date AS day,
                    count(*) AS number, max(id) AS post_id, max(judged_at) AS made
                FROM seed_post WHERE in_burst GROUP BY author_id, 3 HAVING count(*) >= 10
                UNION ALL
                SELECT author_id, 'duplicates', day, count(*), max(id), max(earned_at)
                FROM seed_claim WHERE is_copy GROUP BY author_id, day HAVING count(*) >= 3
            ) raised
        ) rows
        """,
    ),
)

#: What the money is given to, in the order it was earned.
EARNED = """
SELECT claim.id, claim.author_id, post.region, claim.earned_at, claim.verdict_id, claim.lost_at,
    CASE WHEN claim.withdrawn_at IS NULL THEN post.second_id END
FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
WHERE claim.ruling = 'counts' ORDER BY claim.earned_at, claim.id
"""

#: Written once it is known where the money went.
EARNINGS: tuple[tuple[str, str], ...] = (
    (
        "claims",
        """
        INSERT INTO incentives_claim (post_id, ruling, photo_id, earlier_id, distance, decided_at)
        SELECT claim.id, ruling, CASE WHEN is_copy THEN post.photo_id END, earlier.photo_id,
            CASE WHEN is_copy THEN distance END, earned_at
        FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
        LEFT JOIN seed_post earlier ON claim.is_copy AND earlier.n = claim.earlier_n
        LEFT JOIN seed_money money ON money.post_id = claim.id
        -- A post that was withdrawn is forgotten, unless money was paid for it.
        WHERE claim.withdrawn_at IS NULL OR ruling <> 'counts' OR money.status = 'settled'
        ORDER BY earned_at
        """,
    ),
    (
        "rewards",
        """
        INSERT INTO incentives_rewardapplication (verdict_id, donation_reason, applied_at)
        SELECT judged.verdict_id, CASE WHEN outcome <> 'masked' THEN 'not_masked' WHEN claim.ruling <> 'counts'
            THEN claim.ruling ELSE money.reason END, made + interval '0.1 seconds'
        FROM (
            SELECT first_id AS verdict_id, id, first AS outcome, judged_at AS made FROM seed_post
            WHERE first_id IS NOT NULL
            UNION ALL SELECT second_id, id, second, second_at FROM seed_post WHERE second_id IS NOT NULL
        ) judged
        LEFT JOIN seed_claim claim ON claim.id = judged.id
        LEFT JOIN seed_money money ON money.post_id = judged.id
        ORDER BY judged.verdict_id
        """,
    ),
    (
        "boosts",
        """
        INSERT INTO incentives_boost (verdict_id, post_id, campaign_id, factor, half_life_seconds, cap, starts_at,
            ends_at, revoked_at)
        SELECT claim.verdict_id, claim.id, money.campaign_id, %(factor)s, %(half_life)s, %(cap)s, earned_at,
            earned_at + interval '1 second' * %(duration)s, lost_at
        FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
        JOIN seed_money money ON money.post_id = claim.id
        WHERE ruling = 'counts'
            AND NOT (held_before AND earned_at >= %(before_starts)s AND earned_at < %(before_ends)s)
            AND NOT (held_now AND earned_at >= %(now_starts)s)
        ORDER BY earned_at
        """,
    ),
    (
        "sums of the campaigns' days",
        """
        INSERT INTO incentives_campaignday (campaign_id, day, region, reserved_minor, settled_minor, voided_minor,
            refunded_minor, reserved_count, settled_count, voided_count, refunded_count, standing_minor)
        SELECT campaign_id, day, region, coalesce(sum(amount) FILTER (WHERE kind = 'reserved'), 0),
            coalesce(sum(amount) FILTER (WHERE kind = 'settled'), 0),
            coalesce(sum(amount) FILTER (WHERE kind = 'voided'), 0),
            coalesce(sum(amount) FILTER (WHERE kind = 'refunded'), 0), count(*) FILTER (WHERE kind = 'reserved'),
            count(*) FILTER (WHERE kind = 'settled'), count(*) FILTER (WHERE kind = 'voided'),
            count(*) FILTER (WHERE kind = 'refunded'), coalesce(sum(amount) FILTER (WHERE kind = 'standing'), 0)
        FROM (
            SELECT campaign_id, day, region, kind, amount_minor AS amount FROM incentives_ledgerentry
            WHERE campaign_id = ANY(%(campaigns)s) AND match_id IS NOT NULL
            UNION ALL
            SELECT campaign_id, day, region, 'standing', amount_minor FROM incentives_match
            WHERE campaign_id = ANY(%(campaigns)s) AND status IN ('reserved', 'settled')
        ) entry
        GROUP BY campaign_id, day, region
        """,
    ),
)

#: Of one experiment: who took part, and what they did.
TRIAL: tuple[tuple[str, str], ...] = (
    (
        "who takes part",
        """
        INSERT INTO incentives_exposure (experiment_id, author_id, arm, exposed_at)
        SELECT %(experiment)s, author_id, CASE WHEN bool_or({held}) THEN 'holdout' ELSE 'treatment' END, min(judged_at)
        FROM seed_post WHERE first_id IS NOT NULL AND judged_at >= %(starts)s AND judged_at < %(ends)s
        GROUP BY author_id
        """,
    ),
    (
        "what they did",
        """
        INSERT INTO incentives_outcome (experiment_id, author_id, kind, post_id, at)
        SELECT %(experiment)s, author_id, kind, id, at FROM (
            SELECT author_id, 'post' AS kind, id, judged_at AS at FROM seed_post
            WHERE first_id IS NOT NULL AND judged_at >= %(starts)s AND judged_at < %(ends)s
            UNION ALL
            SELECT author_id, 'review', id, judged_at FROM seed_post
            WHERE first = 'uncertain' AND judged_at >= %(starts)s AND judged_at < %(ends)s
            UNION ALL
            SELECT author_id, 'appeal', id, appeal_at FROM seed_post
            WHERE appeal_at IS NOT NULL AND judged_at >= %(starts)s AND judged_at < %(ends)s
            UNION ALL
            SELECT claim.author_id, 'masked_post', claim.id, earned_at
            FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
            WHERE ruling = 'counts' AND earned_at >= %(starts)s AND earned_at < %(ends)s AND judged_at >= %(starts)s
        ) did ORDER BY at
        """,
    ),
)
