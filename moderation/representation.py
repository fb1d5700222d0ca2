"""A post as its platform sees it: rows turned into plain values, for the serializers to write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from moderation.extensions import Stage, post_sections
from moderation.models import Analysis, Appeal, Face, Photo, Post, Verdict
from moderation.selectors import latest_verdict
from moderation.verdicts import STATES


@dataclass(frozen=True, slots=True)
class FaceView:
    xyxy: tuple[float, float, float, float]
    score: float
    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FailureView:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class TimingsView:
    decode_ms: float | None
    detect_ms: float | None
    classify_ms: float | None


@dataclass(frozen=True, slots=True)
class PhotoView:
    id: str
    position: int
    width: int
    height: int
    digest: str
    status: str
    failure: FailureView | None
    timings: TimingsView
    faces: Sequence[FaceView]


@dataclass(frozen=True, slots=True)
class ModelsView:
    detector: str
    classifier: str


@dataclass(frozen=True, slots=True)
class VerdictView:
    id: str
    outcome: str
    source: str
    policy_version: int
    created_at: datetime
    models: ModelsView


@dataclass(frozen=True, slots=True)
class AppealView:
    id: str
    status: str
    statement: str
    verdict_id: str
    answer: str | None
    new_verdict_id: str | None
    created_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class StageView:
    name: str
    ms: float | None


@dataclass(frozen=True, slots=True)
class PostView:
    """A whole post; `sections` are the parts that other apps own, by name."""

    id: str
    author_id: str
    caption: str
    region: str
    status: str
    created_at: datetime
    completed_at: datetime | None
    stages: Sequence[StageView]
    photos: Sequence[PhotoView]
    verdict: VerdictView | None
    appeal: AppealView | None
    sections: Mapping[str, object]


def post_view(post: Post) -> PostView:
    """Return the post in full; it should come from selectors.posts_in_full()."""
    photos = list(post.photos.all())
    verdict = latest_verdict(post)
    return PostView(
        id=post.pk,
        author_id=post.author.external_id,
        caption=post.caption,
        region=post.region,
        status=post.status,
        created_at=post.created_at,
        completed_at=post.completed_at,
        stages=list(_stages(post, [photo.analysis for photo in photos])),
        photos=[_photo(photo) for photo in photos],
        verdict=verdict_view(verdict),
        appeal=appeal_view(max(post.appeals.all(), key=lambda appeal: appeal.pk, default=None)),
        sections={section.name: section.read(post) for section in post_sections},
    )


def verdict_view(verdict: Verdict | None) -> VerdictView | None:
    """Return a verdict, where there is one."""
    if verdict is None:
        return None
    return VerdictView(
        id=verdict.pk,
        outcome=verdict.outcome,
        source=verdict.source,
        policy_version=verdict.policy.version,
        created_at=verdict.created_at,
        models=ModelsView(verdict.detector_digest, verdict.classifier_digest),
    )


def appeal_view(appeal: Appeal | None) -> AppealView | None:
    """Return an appeal, where there is one."""
    if appeal is None:
        return None
    return AppealView(
        id=appeal.pk,
        status=appeal.status,
        statement=appeal.statement,
        verdict_id=appeal.against_id,
        answer=appeal.answer or None,
        new_verdict_id=appeal.verdict_id,
        created_at=appeal.created_at,
        decided_at=appeal.decided_at,
    )


def face_label(face: Face) -> str:
    """Return the likeliest state."""
    return max(STATES, key=lambda state: float(getattr(face, state)))


def _photo(photo: Photo) -> PhotoView:
    analysis = photo.analysis
    failed = analysis.status == Analysis.Status.FAILED
    return PhotoView(
        id=photo.pk,
        position=photo.position,
        width=photo.width,
        height=photo.height,
        digest=photo.digest,
        status=analysis.status,
        failure=FailureView(analysis.failure_code, analysis.failure_detail) if failed else None,
        timings=TimingsView(analysis.decode_ms, analysis.detect_ms, analysis.classify_ms),
        faces=[_face(face) for face in analysis.faces.all()],
    )


def _face(face: Face) -> FaceView:
    probabilities = {state: round(float(getattr(face, state)), 4) for state in STATES}
    xyxy = (round(face.x1, 1), round(face.y1, 1), round(face.x2, 1), round(face.y2, 1))
    return FaceView(xyxy, round(face.score, 4), face_label(face), probabilities)


def _stages(post: Post, analyses: Sequence[Analysis]) -> Iterator[StageView]:
    """Yield the steps on the post's way; photos are looked at side by side, so their times are summed."""
    started = [analysis.started_at for analysis in analyses if analysis.started_at]
    finished = [analysis.finished_at for analysis in analyses if analysis.finished_at]
    first = min(post.verdicts.all(), key=lambda verdict: verdict.sequence, default=None)
    yield StageView("upload", _milliseconds(post.received_at, post.created_at))
    yield StageView("queue", _milliseconds(post.created_at, min(started, default=None)))
    for step in ("decode", "detect", "classify"):
        times = [time for analysis in analyses if (time := getattr(analysis, f"{step}_ms")) is not None]
        yield StageView(step, round(sum(times), 2) if times else None)
    yield StageView("decide", _milliseconds(max(finished), first.created_at) if finished and first else None)
    for section in post_sections:
        yield from (_stage(stage) for stage in section.stages(post))


def _stage(stage: Stage) -> StageView:
    return StageView(stage.name, None if stage.milliseconds is None else round(stage.milliseconds, 2))


def _milliseconds(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else round(max(0.0, (end - start).total_seconds() * 1000), 2)
