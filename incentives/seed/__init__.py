"""A platform with a past: as many posts as asked for, over 90 days, with all that came of them.

What it writes is what the services would have written, had the posts come in one by one: verdicts superseded, books
that add up, badges that the rules give. Only nobody was told: there are no events. Where it stores rows of posts it is
set-based SQL (statements); money and badges, which follow one another in time, are played through in Python and copied
in (money, prizes). All of it is one transaction: there is a whole past or none.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction

from incentives import figures
from incentives.boosts import policy_for
from incentives.experiments import upkeep
from incentives.farming import rules_for
from incentives.models import BadgeRule, Campaign, Experiment, Sponsor, Tier
from incentives.seed import money, prizes, scene, statements
from mask_social.ids import first_id
from moderation import audit
from moderation.audit import Deed
from moderation.models import Platform, Policy
from moderation.selectors import current_policy

PLATFORM = "seeded"
STAFF = "seed-reviewer"
FEWEST_POSTS = 500

Progress = Callable[[str], None]
Row = Sequence[Any]


class SeedError(Exception):
    """There can be no seed here; the text says why."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was written."""

    posts: int
    authors: int
    matches: int
    awards: int


def is_seeded() -> bool:
    """Say whether there is a seed already."""
    return Platform.objects.filter(slug=PLATFORM).exists()


def seed(
    posts: int, now: datetime, *, number: int = 1, checked: bool = False, progress: Progress = lambda step: None
) -> Seeded:
    """Write the past of a platform of its own. Raises SeedError where it was written before, or is too short.

    Only where it is `checked` does the database look up every foreign key, which takes half as long again.
    """
    if posts < FEWEST_POSTS:
        raise SeedError(f"Fewer than {FEWEST_POSTS} posts tell nothing.")
    if is_seeded():
        raise SeedError("This database is seeded already; a fresh one can be.")
    with transaction.atomic():
        with audit.unrecorded():  # an entry now would keep the log locked until the last post is written
            written = _Writer(posts, now, number, progress).write(checked=checked)
        audit.record(Deed("seed", details={"posts": posts}))
    return written


class _Writer:
    """One seed under way."""

    def __init__(self, posts: int, now: datetime, number: int, progress: Progress) -> None:
        self.posts, self.now, self.number, self.progress = posts, now, number, progress
        self.people = max(50, posts // scene.POSTS_PER_AUTHOR)
        self.days = scene.days(posts, now)
        self.ended, self.running = scene.trials(number, now)
        self.platform = Platform.objects.create(id=first_id("plt", now), slug=PLATFORM, name="Seeded")
        self.user = User.objects.create_user(STAFF, is_active=False)
        self.values = self._values(current_policy(self.platform))

    def write(self, *, checked: bool) -> Seeded:
        """Write everything, in the order in which one row needs another."""
        self._prepare(checked=checked)
        self._set_the_scene()
        self.progress("what happened")
        self._run(statements.POSTS)
        self._run(statements.CLAIMS)
        for step, statement in statements.SEEN:
            self.progress(step)
            self._run(statement)
        books = self._give_money()
        for step, statement in statements.EARNINGS:
            self.progress(step)
            self._run(statement)
        awards = self._award_badges()
        experiments = self._write_trials()
        self.progress("statistics for the planner")
        self._run("ANALYZE")  # what was written a moment ago looks empty to it
        self.progress("daily figures, and sums of the experiments")
        figures.rebuild(self.now)
        for experiment in experiments:
            upkeep.add_up(experiment, self.now)
        return Seeded(self.posts, self._count("seed_author"), len(books.given), awards)

    def _values(self, policy: Policy) -> dict[str, Any]:
        terms, rules, shift = policy_for(self.platform.pk), rules_for(self.platform), self.people / 2000
        return {
            "seed": self.number,
            "now": self.now,
            "starts": self.days[0][0],
            "platform": self.platform.pk,
            "user": self.user.pk,
            "policy": policy.pk,
            "authors": self.people,
            "shift": shift,
            "least": math.sqrt(shift / (self.people + shift)),
            "detector": "5eed" * 16,
            "classifier": "c1a5" * 16,
            "posts_per_day": rules.posts_per_day or self.posts,
            "before_starts": self.ended.starts,
            "before_ends": self.ended.ends,
            "before_lift": 1 + self.ended.lift,
            "now_starts": self.running.starts,
            "now_lift": 1 + self.running.lift,
            "factor": terms.factor,
            "half_life": terms.half_life_seconds,
            "cap": terms.cap,
            "duration": terms.duration_seconds,
        }

    def _prepare(self, *, checked: bool) -> None:
        self._run("SET LOCAL work_mem = '256MB'; SET LOCAL jit = off")
        # Put off to the commit, millions of checks would wait in memory.
        self._run("SET CONSTRAINTS ALL IMMEDIATE")
        if not checked and self._rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(True,)]:
            self._run("SET LOCAL session_replication_role = replica")

    def _set_the_scene(self) -> None:
        self._run(statements.FUNCTIONS)
        self._run(statements.TABLES)
        pictures, boxes = scene.store_pictures()
        people = scene.authors(self.number, self.people, self.platform.pk, self.days[0][0], (self.ended, self.running))
        columns = "n, external_id, region, time_zone, hours, keen, registered_at, held_before, held_now"
        self._copy("seed_author", columns, people)
        self._copy("seed_day", "starts_at, lasts, first, posts", self.days)
        self._copy("seed_picture", "k, file, digest, width, height, size", pictures)
        self._copy("seed_box", "k, position, x1, y1, x2, y2, score", boxes)

    def _give_money(self) -> money.Books:
        self.progress("money")
        plans = money.plan(self.now, self.days[0][0], self.posts)
        funds = [money.Fund(campaign, tiers) for campaign, tiers, _ in plans]
        books = money.play(funds, map(money.Earned._make, self._rows(statements.EARNED)), self.now, self.user.pk)
        for fund, (campaign, tiers, sponsor) in zip(funds, plans, strict=True):
            campaign.platform = self.platform
            campaign.sponsor, _ = Sponsor.objects.get_or_create(name=sponsor)
            campaign.committed_minor, campaign.last_entry = fund.committed, fund.numbers
            campaign.created_at = campaign.starts_at
            spent = fund.committed + fund.next_amount() > campaign.budget_minor
            campaign.status = Campaign.Status.EXHAUSTED if spent else Campaign.Status.ACTIVE
            campaign.save(force_insert=True)
            Tier.objects.bulk_create(Tier(campaign=campaign, from_minor=start, percent=share) for start, share in tiers)
        self.values["campaigns"] = [fund.row.pk for fund in funds]
        self._copy("incentives_match", money.MATCH_COLUMNS, money.match_rows(books))
        self.progress("ledger")
        self._copy("incentives_ledgerentry", money.ENTRY_COLUMNS, money.entry_rows(books))
        self._copy(
            "seed_money",
            "post_id, reason, campaign_id, status",
            (
                (post.post_id, str(reason), fund and fund.row.pk, match and match.status)
                for post, reason, match, fund in books.reasons
            ),
        )
        self._run("CREATE UNIQUE INDEX ON seed_money (post_id); ANALYZE seed_money")
        return books

    def _award_badges(self) -> int:
        self.progress("badges")
        rules = list(BadgeRule.objects.filter(is_active=True, valid_days=None))
        holdouts = prizes.Holdouts(self.ended.starts, self.ended.ends, self.running.starts)
        found = list(prizes.prizes(self._rows(prizes.HISTORY), rules, holdouts))
        self._copy("incentives_badgeaward", prizes.AWARD_COLUMNS, map(prizes.award_row, found))
        keys = dict(self._rows("SELECT public_id, id FROM incentives_badgeaward"))
        changes = (row for prize in found for row in prizes.change_rows(prize, keys[prize.public_id], self.user.pk))
        self._copy("incentives_badgechange", prizes.CHANGE_COLUMNS, changes)
        return len(found)

    def _write_trials(self) -> list[Experiment]:
        found = []
        statuses = Experiment.Status.ENDED, Experiment.Status.RUNNING
        for trial, status, held in zip((self.ended, self.running), statuses, ("held_before", "held_now"), strict=True):
            over = status == Experiment.Status.ENDED
            experiment = Experiment.objects.create(
                platform=self.platform,
                name=trial.name,
                salt=trial.salt,
                holdout_percent=trial.percent,
                status=status,
                starts_at=trial.starts,
                ends_at=trial.ends if over else None,
                created_at=trial.starts - timedelta(days=1),
            )
            times = {"experiment": experiment.pk, "starts": trial.starts, "ends": trial.ends}
            for step, statement in statements.TRIAL:
                self.progress(step)
                self._run(statement.replace("{held}", held), times)
            found.append(experiment)
        return found

    def _run(self, statement: str, values: dict[str, Any] | None = None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, self.values | (values or {}))

    def _rows(self, statement: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def _copy(self, table: str, columns: str, rows: Iterable[Row]) -> None:
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def _count(self, table: str) -> int:
        [(number,)] = self._rows(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own name
        return int(number)
