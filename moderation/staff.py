"""What the admin pages of posts show: photos with their faces drawn, stages as bars. Values only; templates draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from django.core.files.storage import default_storage
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from PIL import Image

from moderation.admin_parts import label, outcome_label
from moderation.extensions import staff_sections
from moderation.models import Appeal, Photo, Post, Verdict
from moderation.representation import FaceView, PhotoView, post_view
from moderation.verdicts import STATES

COLOURS = {"mask": "#16a34a", "no_mask": "#dc2626", "incorrect": "#f59e0b", "occluded": "#7c3aed"}
NAMES = {"mask": "mask", "no_mask": "no mask", "incorrect": "worn incorrectly", "occluded": "occluded"}
_STAGE_COLOURS = ("#94a3b8", "#cbd5e1", "#38bdf8", "#6366f1", "#a855f7", "#14b8a6", "#f59e0b", "#f43f5e")
THUMBNAIL_SIDE = 160


@dataclass(frozen=True, slots=True)
class StateBar:
    name: str
    percent: float
    colour: str


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face to be drawn, in pixels of the photo; `caption_y` is above the box, or inside where there is no room."""

    number: int
    x: float
    y: float
    width: float
    height: float
    caption_y: float
    caption_width: float
    caption: str
    score: float
    colour: str
    states: Sequence[StateBar]


@dataclass(frozen=True, slots=True)
class PhotoPanel:
    url: str
    shown: PhotoView
    stroke: float
    halo: float
    font: float
    line: float
    faces: Sequence[FaceBox]


@dataclass(frozen=True, slots=True)
class StageBar:
    name: str
    ms: float | None
    share: float
    colour: str


@dataclass(frozen=True, slots=True)
class PostPanel:
    post: Post
    verdicts: Sequence[Verdict]
    appeals: Sequence[Appeal]
    photos: Sequence[PhotoPanel]
    stages: Sequence[StageBar]
    total_ms: float
    legend: Sequence[StateBar]


def post_panel(post: Post) -> PostPanel:
    """Return all that the page of a post shows."""
    view = post_view(post)
    total = sum(stage.ms or 0.0 for stage in view.stages)
    stages = [
        StageBar(stage.name, stage.ms, 100 * (stage.ms or 0.0) / (total or 1.0), colour)
        for stage, colour in zip(view.stages, _STAGE_COLOURS * len(view.stages), strict=False)
    ]
    return PostPanel(
        post=post,
        verdicts=list(post.verdicts.all()),
        appeals=list(post.appeals.all()),
        photos=[_photo_panel(photo) for photo in view.photos],
        stages=stages,
        total_ms=total,
        legend=[StateBar(NAMES[state], 0.0, COLOURS[state]) for state in STATES],
    )


def post_context(post: Post, request: HttpRequest) -> dict[str, object]:
    """Return what the panel of a post's template reads, with the sections of other apps that this viewer may see."""
    shown = ((section, section.context(post, request)) for section in staff_sections)
    sections = [
        (section.title, render_to_string(section.template, dict(context), request))
        for section, context in shown
        if context is not None
    ]
    return {
        "panel": post_panel(post),
        "verdict_label": outcome_label(post.outcome),
        "status_label": label(post.status, post.status),
        "sections": sections,
    }


def photo_url(photo_id: str, *, thumbnail: bool = False) -> str:
    """Return where staff see a photo."""
    return reverse("admin:moderation_photo_file", args=[photo_id]) + ("?thumbnail=1" if thumbnail else "")


def read_photo(photo: Photo, *, thumbnail: bool) -> bytes:
    """Return a stored photo, or a small version of it. Raises FileNotFoundError."""
    with default_storage.open(str(photo.file.name)) as file:
        content: bytes = file.read()
    if not thumbnail:
        return content
    stream = BytesIO()
    with Image.open(BytesIO(content), formats=["JPEG"]) as image:
        image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))  # the decoder skips what a small version does not need
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _photo_panel(photo: PhotoView) -> PhotoPanel:
    # Lines and letters are in pixels of the photo, so they follow its size.
    font = max(photo.width, photo.height) / 42
    faces = [_face_box(number, face, font) for number, face in enumerate(photo.faces, 1)]
    return PhotoPanel(photo_url(photo.id), photo, font / 6, font / 3, font, font * 1.35, faces)


def _face_box(number: int, face: FaceView, font: float) -> FaceBox:
    x1, y1, x2, y2 = face.xyxy
    caption = f"{NAMES[face.label]} {face.probabilities[face.label]:.0%}"
    line = font * 1.35
    return FaceBox(
        number=number,
        x=x1,
        y=y1,
        width=x2 - x1,
        height=y2 - y1,
        caption_y=y1 - line if y1 >= line else y1,
        caption_width=font * (0.62 * len(caption) + 0.7),
        caption=caption,
        score=face.score,
        colour=COLOURS[face.label],
        states=[StateBar(NAMES[state], 100 * face.probabilities[state], COLOURS[state]) for state in STATES],
    )
