"""Public ids as primary keys."""

from typing import Any

from django.db import models

from mask_social.ids import ID_LENGTH, new_id


def new_platform_id() -> str:
    return new_id("plt")


def new_post_id() -> str:
    return new_id("post")


def new_photo_id() -> str:
    return new_id("pho")


def new_verdict_id() -> str:
    return new_id("ver")


def new_appeal_id() -> str:
    return new_id("apl")


class IdField(models.CharField[str, str]):
    """A public id as primary key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"max_length": ID_LENGTH, "primary_key": True, "editable": False}
        super().__init__(*args, **kwargs)
