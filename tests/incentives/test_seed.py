"""The seed: a past that could have happened."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, OuterRef, Subquery
from pytest_django import DjangoDbBlocker

from incentives import badges, donations, proof, rewards
from incentives.experiments import report, tally
from incentives.models import (
    BadgeAward,
    BadgeRule,
    Boost,
    Campaign,
    Claim,
    CountedPost,
    DailyFigures,
    Delivery,
    Event,
    Experiment,
    Exposure,
    Fingerprint,
    Match,
    PendingChange,
    RewardApplication,
)
from incentives.pages import measure
from incentives.seed import Seeded, SeedError, scene, seed
from moderation import fingerprints, similarity
from moderation.models import Analysis, Appeal, Author, Photo, Post, Verdict
from moderation.selectors import current_policy
from moderation.verdicts import FaceEvidence, PolicyRules, decide
from tests.incentives.builders import furnish
from tests.incentives.figures_by_hand import counted_by_hand, kept

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)
POSTS = 4_000


@pytest.fixture(scope="module")
def past(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Seeded]:
    """One past for all tests here, each of which undoes only what it did itself."""
    with django_db_blocker.unblock(), transaction.atomic():
        furnish()
        yield seed(POSTS, NOW, checked=True)
        transaction.set_rollback(True)


def test_it_writes_as_many_posts_as_were_asked_for_over_ninety_days(past: Seeded) -> None:
    made = Post.objects.filter(platform__slug="seeded").order_by("created_at")

    assert past.posts == made.count() == POSTS
    assert made[0].created_at < NOW - timedelta(days=scene.DAYS - 2)
    assert NOW - timedelta(hours=4) < made.reverse()[0].created_at < NOW
    assert len(set(made.values_list("region", flat=True))) >= 20
    by_author = Counter(made.values_list("author", flat=True))
    assert max(by_author.values()) > 4 * POSTS / len(by_author)


def test_ids_sort_by_time_as_all_do(past: Seeded) -> None:
    by_id = list(Post.objects.order_by("id").values_list("created_at", flat=True))

    assert all(later - earlier > timedelta(milliseconds=-1) for earlier, later in pairwise(by_id))


def test_the_books_of_every_campaign_are_proven(past: Seeded) -> None:
    for campaign in Campaign.objects.filter(platform__slug="seeded"):
        assert proof.audit(campaign).problems == ()
    steps = set(Match.objects.values_list("status", flat=True))
    assert steps == {"reserved", "settled", "voided", "refunded"}
    assert Campaign.objects.filter(status=Campaign.Status.EXHAUSTED).exists()


def test_a_tier_that_is_reached_halves_the_amount(past: Seeded) -> None:
    given = Match.objects.filter(campaign__tiers__isnull=False).values_list("amount_minor", flat=True)

    assert set(given) == {50, 25}


def test_the_figures_are_those_of_its_rows(past: Seeded) -> None:
    assert kept() == counted_by_hand()
    assert DailyFigures.objects.count() > 1_000


def test_what_was_seen_makes_the_verdict_of_the_model(past: Seeded) -> None:
    rules = PolicyRules.of(current_policy(Post.objects.filter(platform__slug="seeded")[0].platform))
    for verdict in Verdict.objects.filter(source="model").order_by("id")[::40]:
        analyses = Analysis.objects.filter(photo__post=verdict.post_id).select_related("photo")
        faces = [FaceEvidence.of(face, a.photo.position) for a in analyses for face in a.faces.all()]
        assert decide(faces, rules) == verdict.outcome


def test_a_post_carries_the_outcome_that_holds(past: Seeded) -> None:
    last = Verdict.objects.filter(post=OuterRef("pk")).order_by("-sequence").values("outcome")[:1]
    posts = Post.objects.exclude(status="failed").annotate(last=Subquery(last))

    assert not posts.exclude(outcome=F("last")).exists()
    assert set(Verdict.objects.values_list("source", flat=True)) == {"model", "reviewer", "appeal"}
    assert {"upheld", "dismissed"} <= set(Appeal.objects.values_list("status", flat=True))


def test_what_counts_is_masked_not_withdrawn_and_let_through(past: Seeded) -> None:
    counted = set(CountedPost.objects.values_list("post", flat=True))
    claims = Claim.objects.filter(ruling="counts", post__outcome="masked", post__status="analyzed")

    assert counted == set(claims.values_list("post", flat=True))
    for row in CountedPost.objects.select_related("verdict")[:200]:
        assert row.verdict is not None
        assert row.verdict.outcome == "masked"


def test_nobody_holds_what_the_rules_do_not_give(past: Seeded) -> None:
    held_out = set(Exposure.objects.filter(arm="holdout").values_list("author", flat=True))
    rules = list(BadgeRule.objects.filter(is_active=True))
    for author in Author.objects.filter(platform__slug="seeded").order_by("pk")[::5]:
        history = badges.counted_history(author)
        earned = {rule.code for rule in rules if badges.measure(rule, history).is_enough}
        awards = BadgeAward.objects.filter(author=author)
        holds = set(awards.exclude(status="revoked").values_list("rule", flat=True))
        assert holds <= earned
        assert holds == earned or author.pk in held_out


def test_every_award_has_a_history_that_ends_as_it_stands(past: Seeded) -> None:
    for award in BadgeAward.objects.prefetch_related("changes"):
        changes = list(award.changes.all())
        assert (changes[0].status, changes[-1].status) == ("active", award.status)
        assert changes[-1].created_at == award.changed_at


def test_the_experiment_that_ended_gives_its_lift_back(past: Seeded) -> None:
    ended = Experiment.objects.get(status=Experiment.Status.ENDED)
    true_lift = scene.trials(1, NOW)[0].lift

    found = report.report(ended, tally.from_json(ended.sums.data))

    assert found.relative_lift is not None
    assert found.relative_lift.holds(true_lift)
    assert not found.sample_ratio.is_off


def test_whoever_is_held_out_has_neither_boost_nor_badge_meanwhile(past: Seeded) -> None:
    running = Experiment.objects.get(status=Experiment.Status.RUNNING)
    held_out = Exposure.objects.filter(experiment=running, arm="holdout").values("author")

    assert held_out.exists()
    assert not Boost.objects.filter(post__author__in=held_out, starts_at__gte=running.starts_at).exists()
    assert not BadgeAward.objects.filter(author__in=held_out, awarded_at__gte=running.starts_at).exists()
    assert Match.objects.filter(author__in=held_out, created_at__gte=running.starts_at).exists()


def test_a_near_duplicate_is_as_near_as_it_says(past: Seeded) -> None:
    pairs = Claim.objects.filter(ruling="near_duplicate").select_related("photo", "earlier")

    assert pairs.exists()
    for claim in pairs:
        assert claim.photo is not None
        assert claim.earlier is not None
        assert fingerprints.distance(bytes(claim.photo.pdq or b""), bytes(claim.earlier.pdq or b"")) == claim.distance
        assert Fingerprint.objects.filter(photo=claim.earlier).exists()


def test_a_fingerprint_is_found_by_its_keys(past: Seeded) -> None:
    stored = Fingerprint.objects.all()

    assert stored.exists()
    assert all(row.keys == similarity.keys_of(bytes(row.pdq)) for row in stored)


def test_nothing_is_left_to_do_and_nobody_is_told(past: Seeded) -> None:
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()
    assert not PendingChange.objects.exists()
    assert rewards.sweep(NOW) == donations.settle_due(NOW) == 0
    assert not Analysis.objects.exclude(status__in=["done", "failed"]).exists()
    assert RewardApplication.objects.count() == Verdict.objects.count()


def test_its_photos_can_be_looked_at(past: Seeded) -> None:
    files = set(Photo.objects.values_list("file", flat=True))

    assert len(files) == len(scene.PICTURES)
    assert all(default_storage.exists(name) for name in files)


def test_a_second_seed_is_refused(past: Seeded) -> None:
    with pytest.raises(SeedError, match="seeded already"):
        seed(POSTS, NOW)


def test_every_page_of_staff_opens_with_few_queries(past: Seeded) -> None:
    opened = list(measure(rounds=1, choices=2))

    assert len(opened) > 100
    assert [page for page in opened if page.status != 200 or page.queries > 40] == []
