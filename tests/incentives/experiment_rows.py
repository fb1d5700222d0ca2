"""Simulated people as rows of the database, their exposures and outcomes written by the service's own functions."""

from datetime import UTC, datetime, timedelta

import numpy as np

from incentives.experiments import exposures, lifecycle
from incentives.experiments.simulation import Arms, Counts, People
from incentives.models import Campaign, CountedPost, Experiment, Match, Outcome
from moderation.models import Author, Platform, Post, Verdict
from tests.cast import CLASSIFIER, DETECTOR, make_policy

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def make_experiment(platform: Platform | None = None, *, runs: bool = True, **fields: object) -> Experiment:
    """Write an experiment down, and start it."""
    defaults = {"name": "Do boosts work?", "salt": lifecycle.new_salt(), "holdout_percent": 20.0}
    experiment = Experiment.objects.create(platform=platform, **(defaults | fields))
    if runs:
        lifecycle.start(experiment, NOW)
    return experiment


def known_platform(number: int = 1) -> Platform:
    """Make a platform with an id of its own: with a fixed salt, the same authors are held out in every run."""
    make_policy()
    return Platform.objects.create(id=f"plt_{number}", slug=f"known-{number}", name="Known")


def settle_down(platform: Platform, people: People) -> tuple[list[Author], Arms]:
    """Make the people authors, expose them, and return who is held out."""
    names = range(len(people.posts))
    authors = Author.objects.bulk_create(
        Author(platform=platform, external_id=f"author {name}", created_at=NOW) for name in names
    )
    arms = [exposures.arm_of(author, NOW) for author in authors]
    return authors, np.array([arm is not None and arm.is_holdout for arm in arms])


def make_posts(authors: list[Author], posts: Counts, masked: Counts) -> list[Post]:
    """Make each author's posts with their first verdicts, the masked ones first; those count. Return the masked."""
    policy = make_policy()
    plan = [
        (author, number < masked[position])
        for position, author in enumerate(authors)
        for number in range(posts[position])
    ]
    rows = Post.objects.bulk_create(
        Post(platform=author.platform, author=author, status="analyzed", created_at=NOW, completed_at=NOW)
        for author, _ in plan
    )
    verdicts = Verdict.objects.bulk_create(
        Verdict(
            post=post,
            sequence=1,
            outcome="masked" if is_masked else "unmasked",
            source="model",
            policy=policy,
            detector_digest=DETECTOR,
            classifier_digest=CLASSIFIER,
            photo_digests=[],
        )
        for post, (_, is_masked) in zip(rows, plan, strict=True)
    )
    counted = [verdict for verdict, (_, is_masked) in zip(verdicts, plan, strict=True) if is_masked]
    CountedPost.objects.bulk_create(
        CountedPost(post=verdict.post, verdict=verdict, author=verdict.post.author, day=NOW.date(), created_at=NOW)
        for verdict in counted
    )
    arms = {author.pk: exposures.arm_of(author, NOW) for author in authors}
    for post, (author, is_masked) in zip(rows, plan, strict=True):
        if (arm := arms[author.pk]) is not None:
            exposures.note(arm, author, post, Outcome.Kind.POST, NOW)
            if is_masked:
                exposures.note(arm, author, post, Outcome.Kind.MASKED_POST, NOW)
    return [verdict.post for verdict in counted]


def match(campaign: Campaign, posts: list[Post], amount_minor: int, status: str = "reserved") -> None:
    """Promise each post money."""
    Match.objects.bulk_create(
        Match(
            campaign=campaign,
            post=post,
            author=post.author,
            amount_minor=amount_minor,
            status=status,
            day=NOW.date(),
            created_at=NOW,
            settle_at=NOW,
        )
        for post in posts
    )
