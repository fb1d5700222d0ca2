"""A bucket by django-storages; imported only where STORAGE_URL names one."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import IO, Any, ParamSpec, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile, File
from storages.backends.s3 import S3Storage

P = ParamSpec("P")
R = TypeVar("R")


def _as_os_error(act: Callable[P, R]) -> Callable[P, R]:
    """Raise what went wrong with the bucket as callers know it from folders."""

    @wraps(act)
    def acted(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return act(*args, **kwargs)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in {"404", "NoSuchKey"}:
                raise FileNotFoundError("The bucket has no such object.") from error
            raise OSError(f"The bucket refused: {code}.") from error
        except BotoCoreError as error:
            raise OSError(f"The bucket cannot be reached: {type(error).__name__}.") from error

    return acted


class Bucket(S3Storage):  # type: ignore[misc]  # the package has no types
    """A private bucket whose troubles are OSErrors."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return the name itself: names are random, and asking whether one is taken costs a round trip."""
        return name

    @_as_os_error
    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """Read a whole object at once: it is a photo, and every reader wants all of it."""
        if mode != "rb":
            raise ValueError("Objects are written by save() alone.")
        answer = self.connection.meta.client.get_object(Bucket=self.bucket_name, Key=self._key(name))
        return ContentFile(answer["Body"].read(), name)

    @_as_os_error
    def _save(self, name: str, content: IO[bytes]) -> str:
        """Write an object in one request: a photo is far below what wants several."""
        self.connection.meta.client.put_object(
            Bucket=self.bucket_name,
            Key=self._key(name),
            Body=content.read(),
            ContentType="image/jpeg",
            **self.get_object_parameters(name),
        )
        return name

    @_as_os_error
    def delete(self, name: str) -> None:
        """Delete an object, whether or not it is there."""
        super().delete(name)

    @_as_os_error
    def exists(self, name: str) -> bool:
        """Say whether there is such an object."""
        return bool(super().exists(name))

    @_as_os_error
    def size(self, name: str) -> int:
        """Return the bytes of an object."""
        return int(super().size(name))

    @_as_os_error
    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        """Return the folders and the objects below a prefix."""
        folders, objects = super().listdir(name)
        return list(folders), list(objects)

    @_as_os_error
    def get_modified_time(self, name: str) -> datetime:
        """Return when an object was written."""
        written: datetime = super().get_modified_time(name)
        return written

    def _key(self, name: str) -> Any:
        return self._normalize_name(name.replace("\\", "/"))
