"""The files of photos: written before the rows that name them, and swept where no row came to do so, or none does now.

A file is left over when its request was cut off before its rows were there, when nobody could tell whether they are,
or when its post was erased.
"""

import logging
import random
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from mask_social import clock
from mask_social.errors import ApiError
from mask_social.ids import first_id
from moderation.models import Photo

logger = logging.getLogger(__name__)

ROOT = "photos"
# A request may still be at work on the rows of a younger one.
LEFT_OVER_AFTER = timedelta(days=1)
_RECENT_DAYS = 3
_RETRY_SECONDS = 30
_DAY = re.compile(r"\d{4}/\d{2}/\d{2}")
# An id is made a moment before its file's name, and the day may change between the two.
_BESIDE = timedelta(hours=1)
# Below so many, no share of them says anything.
_FEW = 20


class MissingError(Exception):
    """A photo's file is gone."""


class UnreadableError(Exception):
    """The storage does not answer as it should; the message says how."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found; `names` are of the files no row names."""

    looked_at: int
    names: tuple[str, ...]
    is_refused: bool = False


def store(content: bytes) -> str:
    """Write a photo and return its name; raise ``storage_unavailable``, and leave nothing, where that cannot be."""
    # Not by its id, which others know: whoever guesses at files must guess 256 random bits.
    name = f"{ROOT}/{clock.now():%Y/%m/%d}/{secrets.token_urlsafe(32)}.jpg"
    try:
        return default_storage.save(name, ContentFile(content))
    except OSError as error:
        logger.error("A photo could not be stored: %s.", error)
        discard([name])  # a full disk takes the first half
        raise ApiError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "storage_unavailable",
            "Photos cannot be stored at the moment; nothing was kept of this request.",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        ) from error


def discard(names: Iterable[str]) -> None:
    """Delete files; what cannot be deleted now, the sweep finds."""
    for name in names:
        try:
            default_storage.delete(name)
        except OSError:
            logger.warning("%s could not be deleted and waits for the sweep.", name)


def read(name: str) -> bytes:
    """Return a photo; raise MissingError where it is gone for good, UnreadableError where it may come back."""
    try:
        with default_storage.open(name) as file:
            return bytes(file.read())
    except FileNotFoundError as error:
        if _day_is_missing(name):
            raise UnreadableError("all photos of that day are gone, as if another folder were mounted there") from error
        raise MissingError(name) from error
    except OSError as error:
        raise UnreadableError(str(error)) from error


def sweep(*, at_most: int = 1000, seconds: float = float("inf"), dry_run: bool = False, is_sure: bool = False) -> Swept:
    """Delete the files that no row names, those of the last days first; the others in no order, while there is time.

    Where more are left over than are named, this is the wrong database or the wrong storage: nothing is deleted unless
    the caller is sure.
    """
    ends = time.monotonic() + seconds
    looked_at, unnamed = 0, list[str]()
    for day in _days():
        found = _files_of(day)
        looked_at += len(found)
        unnamed += found - _named_around(day)
        if len(unnamed) >= at_most or time.monotonic() > ends:
            break
    left_over = _old(_really_unnamed(unnamed[:at_most]))
    refused = not is_sure and len(left_over) > max(_FEW, looked_at - len(unnamed))
    if refused:
        logger.error("%d of %d files have no row: is this their database? None was deleted.", len(left_over), looked_at)
    elif not dry_run:
        discard(left_over)
    return Swept(looked_at, tuple(left_over), refused)


def _day_is_missing(name: str) -> bool:
    day = name.removeprefix(f"{ROOT}/").rpartition("/")[0]
    try:
        return bool(_DAY.fullmatch(day)) and not _files_of(day)
    except OSError:
        return True


def _days() -> Iterator[str]:
    """Yield the folders of days, without the root: the last ones, then the others as they come."""
    days = sorted(day for year in _folders("") for month in _folders(year) for day in _folders(month))
    days = [day for day in days if _DAY.fullmatch(day)]
    older = days[:-_RECENT_DAYS]
    random.shuffle(older)  # so that each has its turn, where one sweep does not come to all
    yield from reversed(days[-_RECENT_DAYS:])
    yield from older


def _folders(path: str) -> list[str]:
    try:
        folders, _ = default_storage.listdir(f"{ROOT}/{path}".rstrip("/"))
    except FileNotFoundError:
        return []
    return [f"{path}/{folder}".lstrip("/") for folder in folders]


def _files_of(day: str) -> set[str]:
    _, files = default_storage.listdir(f"{ROOT}/{day}")
    return {f"{ROOT}/{day}/{file}" for file in files}


def _named_around(day: str) -> set[str]:
    """Return the files of the photos whose ids are of that day: the key orders them, while file names have no index."""
    start = datetime.strptime(day, "%Y/%m/%d").replace(tzinfo=UTC)
    ids = first_id("pho", start - _BESIDE), first_id("pho", start + timedelta(days=1) + _BESIDE)
    return set(Photo.objects.filter(pk__gte=ids[0], pk__lt=ids[1]).values_list("file", flat=True).iterator())


def _really_unnamed(names: list[str]) -> list[str]:
    """Look once through all rows: ids and folders may come of clocks that did not agree."""
    if not names:
        return []
    named = set(Photo.objects.filter(file__in=names).values_list("file", flat=True))
    return [name for name in names if name not in named]


def _old(names: Iterable[str]) -> list[str]:
    # By the time of the machine: the files were not dated by the clock of a trial.
    limit = datetime.now(UTC) - LEFT_OVER_AFTER
    return [name for name in names if (written := _written_at(name)) and written < limit]


def _written_at(name: str) -> datetime | None:
    try:
        return default_storage.get_modified_time(name)
    except FileNotFoundError:  # another sweep was as quick
        return None
