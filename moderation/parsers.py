"""Reading what a request carries, in memory: a refused photo, with all that it tells, was never on a disk."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser as DjangoMultiPartParser
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles, JSONParser

from mask_social.bodies import refuse_large
from mask_social.errors import ApiError

PHOTOS_FIELD = "photos"


class ReceivedFile(UploadedFile[bytes]):
    """A file of the request in memory; of one that is too large or one too many only the size is known."""

    def __init__(self, *, content: bytes, digest: str, size: int, name: str, content_type: str, field: str) -> None:
        super().__init__(None, name, content_type, size)
        self.content = content
        self.digest = digest
        self.field_name = field

    def close(self) -> None:
        """Do nothing: there is no file to close, and Django closes what it had when it refuses the rest."""


class _InMemory(FileUploadHandler):
    """Keep what may be a photo, and drop what is too large or one too many while it comes in."""

    def __init__(self, max_bytes: int, max_files: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._files = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._files += 1
        self._kept = bytearray()
        self._size = 0
        self._keep = self.field_name == PHOTOS_FIELD and self._files <= self._max_files
        self._digest = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._size += len(raw_data)
        if self._size > self._max_bytes:
            self._keep = False
            self._kept.clear()
        if self._keep:
            self._kept += raw_data
            self._digest.update(raw_data)

    def file_complete(self, file_size: int) -> ReceivedFile:
        return ReceivedFile(
            content=bytes(self._kept),
            digest=self._digest.hexdigest(),
            size=self._size,
            name=self.file_name or "",
            content_type=self.content_type or "",
            field=self.field_name or "",
        )


class PhotoMultiPartParser(BaseParser):
    """Parse multipart/form-data with photos."""

    media_type = "multipart/form-data"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> "DataAndFiles[Any, Any]":
        """Return the fields and the files."""
        request = (parser_context or {})["request"]
        meta = request.META | {"CONTENT_TYPE": media_type}
        max_bytes, max_files = settings.MAX_PHOTO_BYTES, settings.MAX_PHOTOS
        # Room for as many photos as there may be, and for what stands around them.
        refuse_large(meta, max_files * max_bytes + 2 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        handlers = [_InMemory(max_bytes, max_files)]
        try:
            data, files = DjangoMultiPartParser(meta, stream, handlers, "utf-8").parse()
        except MultiPartParserError as error:
            raise ParseError(f"The multipart form cannot be read: {error}", code="parse_error") from error
        except TooManyFilesSent as error:
            detail = f"A post has at most {max_files} photos."
            raise ApiError(HTTPStatus.BAD_REQUEST, "too_many_photos", detail, pointer=f"/{PHOTOS_FIELD}") from error
        return DataAndFiles(data, files)


class JsonParser(JSONParser):
    """Parse JSON, and refuse what no decoder should be made to follow."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return what the body says."""
        refuse_large((parser_context or {})["request"].META, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        return decode_json(stream, parser_context)


def decode_json(stream: Any, parser_context: Mapping[str, Any] | None) -> Any:
    """Return what JSON says."""
    try:
        return JSONParser().parse(stream, parser_context=parser_context)
    except RecursionError as error:
        raise ParseError("JSON parse error - it is nested too deeply", code="parse_error") from error
