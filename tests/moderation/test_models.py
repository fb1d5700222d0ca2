"""What the database refuses, by the name of the constraint."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error, transaction
from django.utils import timezone

from moderation.models import Analysis, ApiKey, Author, Face, IdempotencyKey, Photo, Policy, Post, Verdict
from tests import cast

pytestmark = pytest.mark.django_db


def new_face(**changes: Any) -> None:
    analysis = cast.make_post(outcome="masked").photos.get().analysis
    values = {"x1": 0, "y1": 0, "x2": 9, "y2": 9, "score": 1, "mask": 1, "no_mask": 0, "incorrect": 0, "occluded": 0}
    Face.objects.create(analysis=analysis, **({"position": 7} | values | changes))


def change_post(**changes: Any) -> None:
    Post.objects.filter(pk=cast.make_post().pk).update(**changes)


def change_analysis(**changes: Any) -> None:
    Analysis.objects.filter(photo__post=cast.make_post()).update(**changes)


def change_photo(**changes: Any) -> None:
    Photo.objects.filter(post=cast.make_post()).update(**changes)


def twice(make: Callable[[], object]) -> None:
    make()
    make()


def same_author() -> None:
    platform = cast.make_platform()
    twice(lambda: Author.objects.create(platform=platform, external_id="ann"))


def same_position() -> None:
    post = cast.make_post(photos=[])
    twice(lambda: cast.make_photo(post))


def same_sequence() -> None:
    post = cast.make_post(outcome="masked")
    verdict = Verdict.objects.get(post=post)
    verdict.pk = "ver_other"
    verdict.save(force_insert=True)


def same_idempotency_key() -> None:
    platform = cast.make_platform()
    twice(
        lambda: IdempotencyKey.objects.create(platform=platform, key="k", fingerprint="f", locked_until=timezone.now())
    )


def half_an_answer() -> None:
    IdempotencyKey.objects.create(
        platform=cast.make_platform(), key="k", fingerprint="f", locked_until=timezone.now(), response_status=202
    )


REFUSED: dict[str, Callable[[], object]] = {
    "api_key_has_a_scope": lambda: ApiKey.objects.create(platform=cast.make_platform(), digest="d", scopes=[]),
    "idempotency_key_once_per_platform": same_idempotency_key,
    "idempotency_answer_is_whole": half_an_answer,
    "author_once_per_platform": same_author,
    "author_has_an_external_id": lambda: Author.objects.create(platform=cast.make_platform(), external_id=""),
    "policy_version_once": lambda: twice(lambda: Policy.objects.create(platform=None, version=9)),
    "policy_thresholds_in_order": lambda: Policy.objects.create(version=9, mask_sure=0.2, mask_likely=0.3),
    "policy_shares_between_0_and_1": lambda: Policy.objects.create(version=9, min_face_ratio=1.1),
    "policy_is_never_edited": lambda: Policy.objects.filter(pk=cast.make_policy().pk).update(note="x"),
    "post_completed_unless_pending": lambda: change_post(status="analyzed"),
    "photo_once_per_position": same_position,
    "photo_position_below_10": lambda: change_photo(position=10),
    "photo_has_pixels": lambda: change_photo(width=0),
    "analysis_lease_while_running": lambda: change_analysis(status="running"),
    "analysis_done_is_whole": lambda: change_analysis(status="done"),
    "analysis_failed_says_why": lambda: change_analysis(status="failed", finished_at=timezone.now()),
    "face_once_per_position": lambda: new_face(position=0),
    "face_box_has_area": lambda: new_face(x2=0),
    "face_values_between_0_and_1": lambda: new_face(mask=1.01),
    "verdict_once_per_sequence": same_sequence,
    "verdict_is_never_edited": lambda: cast.make_post(outcome="masked").verdicts.update(outcome="unmasked"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_database_refuses(name: str) -> None:
    with pytest.raises(Error) as refusal, transaction.atomic():
        REFUSED[name]()

    # A trigger says what it protects, not its own name.
    told = str(refusal.value)
    assert name in told or (name.endswith("never_edited") and "Cannot update rows" in told)
