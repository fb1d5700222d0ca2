"""From faces to a verdict: a table of cases, and what holds for any faces at all."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from moderation import signals
from moderation.models import Platform, Policy, Post, Verdict
from moderation.selectors import current_policy, latest_verdict, masked_posts
from moderation.verdicts import STATES, FaceEvidence, PolicyRules, decide, record_verdict
from tests import cast

RULES = PolicyRules(
    rule="all",
    min_face_score=0.6,
    min_face_ratio=0.3,
    sure={"mask": 0.7, "no_mask": 0.6, "incorrect": 0.6, "occluded": 0.6},
    likely=dict.fromkeys(STATES, 0.3),
)


def face(
    mask: float = 0.0,
    no_mask: float = 0.0,
    incorrect: float = 0.0,
    occluded: float = 0.0,
    *,
    side: float = 100.0,
    score: float = 0.99,
    photo: int = 0,
) -> FaceEvidence:
    values = {"mask": mask, "no_mask": no_mask, "incorrect": incorrect, "occluded": occluded}
    return FaceEvidence(photo, side, score, values)


MASK, BARE, WRONG, HIDDEN = face(mask=1), face(no_mask=1), face(incorrect=1), face(occluded=1)
MAYBE = face(mask=0.5, no_mask=0.5)


@pytest.mark.parametrize(
    ("faces", "by_all", "by_any", "by_majority"),
    [
        ([], "no_face", "no_face", "no_face"),
        ([MASK], "masked", "masked", "masked"),
        ([MASK, MASK], "masked", "masked", "masked"),
        ([BARE], "unmasked", "unmasked", "unmasked"),
        ([HIDDEN], "unmasked", "unmasked", "unmasked"),
        ([WRONG], "incorrect", "incorrect", "incorrect"),
        ([WRONG, HIDDEN], "incorrect", "incorrect", "incorrect"),
        ([WRONG, BARE], "unmasked", "unmasked", "unmasked"),
        ([MASK, BARE], "partly_masked", "masked", "partly_masked"),
        ([MASK, MASK, BARE], "partly_masked", "masked", "masked"),
        ([MASK, HIDDEN], "partly_masked", "masked", "partly_masked"),
        ([MASK, WRONG], "partly_masked", "masked", "partly_masked"),
        ([MAYBE], "uncertain", "uncertain", "uncertain"),
        ([MASK, MAYBE], "uncertain", "masked", "uncertain"),
        ([BARE, MAYBE], "uncertain", "uncertain", "uncertain"),
        ([MASK, BARE, MAYBE], "partly_masked", "masked", "uncertain"),
        ([MASK, MASK, MASK, MAYBE], "uncertain", "masked", "masked"),
        ([face(no_mask=0.5, incorrect=0.45)], "unmasked", "unmasked", "unmasked"),
        ([face(mask=0.65, no_mask=0.35)], "uncertain", "uncertain", "uncertain"),
    ],
)
def test_the_outcome_follows_from_faces_and_rule(
    faces: Sequence[FaceEvidence], by_all: str, by_any: str, by_majority: str
) -> None:
    found = [decide(faces, replace(RULES, rule=rule)) for rule in ("all", "any", "majority")]

    assert found == [by_all, by_any, by_majority]


def test_a_face_in_the_background_does_not_count() -> None:
    assert decide([MASK, face(no_mask=1, side=29)], RULES) == "masked"
    assert decide([MASK, face(no_mask=1, side=30)], RULES) == "partly_masked"


def test_a_doubtful_find_does_not_count_not_even_as_the_largest() -> None:
    assert decide([face(mask=1, side=40), face(no_mask=1, side=400, score=0.59)], RULES) == "masked"


def test_sizes_are_compared_within_a_photo() -> None:
    assert decide([MASK, face(no_mask=1, side=10, photo=1)], RULES) == "partly_masked"


def random_face(source: random.Random) -> FaceEvidence:
    weights = [source.random() ** 3 for _ in STATES]
    values = [weight / sum(weights) for weight in weights]
    return FaceEvidence(
        source.randrange(2), source.uniform(5, 300), source.random(), dict(zip(STATES, values, strict=True))
    )


def random_cases() -> list[tuple[list[FaceEvidence], PolicyRules]]:
    source = random.Random(7)
    return [
        ([random_face(source) for _ in range(source.randrange(6))], replace(RULES, rule=rule))
        for rule in ("all", "any", "majority")
        for _ in range(400)
    ]


def as_mask(evidence: FaceEvidence) -> FaceEvidence:
    return replace(evidence, probabilities=MASK.probabilities)


def test_the_order_of_faces_never_matters() -> None:
    for faces, rules in random_cases():
        outcomes = {decide(order, rules) for order in itertools.islice(itertools.permutations(faces), 24)}
        assert len(outcomes) == 1


def test_the_outcome_is_masked_when_every_face_is() -> None:
    for faces, rules in random_cases():
        assert decide([as_mask(one) for one in faces], rules) in {"masked", "no_face"}


def test_putting_on_a_mask_never_takes_a_masked_verdict_away() -> None:
    for faces, rules in random_cases():
        if decide(faces, rules) == "masked":
            for index in range(len(faces)):
                assert decide([*faces[:index], as_mask(faces[index]), *faces[index + 1 :]], rules) == "masked"


def test_a_rule_that_asks_for_less_never_loses_a_masked_verdict() -> None:
    for faces, rules in random_cases():
        masked = [decide(faces, replace(rules, rule=rule)) == "masked" for rule in ("all", "majority", "any")]
        assert masked == sorted(masked)


def test_without_doubt_between_the_thresholds_nothing_is_uncertain() -> None:
    for faces, rules in random_cases():
        sure = [
            replace(
                one,
                probabilities={
                    state: float(state == max(STATES, key=lambda s: one.probabilities[s])) for state in STATES
                },
            )
            for one in faces
        ]
        assert decide(sure, rules) != "uncertain"


def analyzed(post: Post, *photos: Sequence[Mapping[str, float]]) -> Post:
    for photo, faces in zip(post.photos.all(), photos, strict=True):
        photo.analysis.delete()
        cast.make_analysis(photo, faces)
    return Post.objects.get(pk=post.pk)


@pytest.mark.django_db
def test_the_model_speaks_once_and_says_by_what() -> None:
    heard: list[str] = []

    def hear(*, verdict_id: str, **_: object) -> None:
        heard.append(verdict_id)

    signals.verdict_reached.connect(hear)
    post = analyzed(cast.make_post(photos=[[], []]), [{"mask": 0.99}], [{"no_mask": 0.9}])

    verdict = record_verdict(post.pk, source="model")
    again = record_verdict(post.pk, source="model")

    assert verdict is not None
    assert again is None
    assert heard == [verdict.pk]
    post.refresh_from_db()
    assert (post.status, post.outcome) == ("analyzed", "partly_masked")
    assert (verdict.sequence, verdict.outcome) == (1, "partly_masked")
    assert post.completed_at is not None
    assert verdict.photo_digests == [photo.digest for photo in post.photos.order_by("position")]
    assert (verdict.detector_digest, verdict.classifier_digest) == (cast.DETECTOR, cast.CLASSIFIER)


@pytest.mark.django_db
def test_a_second_verdict_supersedes_the_first() -> None:
    post = cast.make_post(outcome="masked", photos=[[{"no_mask": 1.0}]])

    verdict = record_verdict(post.pk, source="reevaluation")

    assert verdict is not None
    assert (verdict.sequence, verdict.outcome) == (2, "unmasked")
    assert latest_verdict(post) == verdict
    post.refresh_from_db()
    assert post.outcome == "unmasked"
    assert list(masked_posts(post.author)) == []


@pytest.mark.django_db
def test_a_policy_that_comes_to_what_holds_says_nothing() -> None:
    post = cast.make_post(outcome="masked")

    assert record_verdict(post.pk, source="reevaluation") is None
    assert post.verdicts.count() == 1


@pytest.mark.django_db
def test_there_is_no_verdict_before_every_photo_is_done() -> None:
    post = cast.make_post(photos=[[], []])
    first = post.photos.all()[0]
    first.analysis.delete()
    cast.make_analysis(first, [{"mask": 1.0}])

    assert record_verdict(post.pk, source="model") is None
    assert record_verdict(post.pk, source="reviewer") is None
    assert not Verdict.objects.exists()


@pytest.mark.django_db
def test_the_policy_of_a_platform_comes_before_everybodys(platform: Platform) -> None:
    Policy.objects.create(platform=None, version=2)
    assert current_policy(platform).version == 2

    own = Policy.objects.create(platform=platform, version=1, rule="any")

    assert current_policy(platform) == own
    assert current_policy(cast.make_platform()).version == 2


@pytest.mark.django_db
def test_masked_posts_are_those_that_stand_masked(platform: Platform) -> None:
    author = cast.make_author(platform)
    masked = cast.make_post(author, outcome="masked")
    cast.make_post(author, outcome="unmasked")
    cast.make_post(author)
    overturned = cast.make_post(author, outcome="masked")
    cast.make_verdict(overturned, "unmasked", source="reviewer")
    withdrawn = cast.make_post(author, outcome="masked")
    cast.withdraw(withdrawn)
    cast.make_post(cast.make_author(platform), outcome="masked")

    assert list(masked_posts(author)) == [masked]
