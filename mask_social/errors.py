"""The one error shape of the API: RFC 9457 problem details with a stable code and pointers to the fields."""

import errno
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from rest_framework import exceptions, serializers
from rest_framework.response import Response

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_RETRY_SECONDS = 5
# Of PostgreSQL: it stops, it crashed, it starts, its database is dropped, it has no place for another connection.
_SERVER_GOES = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "53300"})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one part of the request; `pointer` is an RFC 6901 JSON pointer."""

    pointer: str
    code: str
    detail: str


class ApiError(Exception):
    """A refusal with a stable code; services raise it, the handler shapes it."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        headers: Mapping[str, str] | None = None,
        type_: str = "about:blank",
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.problems = () if pointer is None else (FieldProblem(pointer, code, detail),)
        self.headers = dict(headers or {})
        self.type = type_
        self.members = dict(members or {})


@dataclass(frozen=True, slots=True)
class Problem:
    """A whole problem document."""

    status: HTTPStatus
    code: str
    detail: str
    problems: Sequence[FieldProblem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    # A type that others have defined too, and the members that it brings.
    type: str = "about:blank"
    members: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Return the document as it is sent."""
        body: dict[str, Any] = {
            "type": self.type,
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
            **self.members,
        }
        if self.problems:
            body["errors"] = [
                {"pointer": problem.pointer, "code": problem.code, "detail": problem.detail}
                for problem in self.problems
            ]
        return body


class ProblemItemSerializer(serializers.Serializer[FieldProblem]):
    pointer = serializers.CharField(
        allow_blank=True, help_text="RFC 6901 JSON pointer to the field; empty: the whole body"
    )
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Problem]):
    """RFC 9457 problem details, for the schema."""

    type = serializers.CharField(default="about:blank")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="stable; docs/api.md lists them")
    detail = serializers.CharField()
    # DRF takes declared fields out of the class, so its own `errors` property stays.
    errors = ProblemItemSerializer(many=True, required=False)  # type: ignore[assignment]

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add the member whose name is no Python name."""
        policies = serializers.ListField(
            child=serializers.CharField(), required=False, help_text="which limits of `RateLimit-Policy` were exceeded"
        )
        return {**super().get_fields(), "violated-policies": policies}


def problem_response(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Shape what a view raised; what it does not know stays a server error for Django to log."""
    from rest_framework.views import set_rollback  # it imports modules named in the settings, which import this one

    problem = _problem(exc)
    if problem is None:
        return None
    set_rollback()
    response = Response(problem.body(), status=problem.status.value, content_type=CONTENT_TYPE)
    for name, value in problem.headers.items():
        response[name] = value
    return response


def _problem(exc: Exception) -> Problem | None:
    match exc:
        case ApiError():
            return Problem(exc.status, exc.code, exc.detail, exc.problems, exc.headers, exc.type, exc.members)
        case exceptions.ValidationError():
            problems = tuple(_flatten(exc.get_full_details(), ""))
            code = problems[0].code if len(problems) == 1 else "validation_error"
            detail = problems[0].detail if len(problems) == 1 else "Several fields are wrong; see errors."
            return Problem(HTTPStatus.BAD_REQUEST, code, detail, problems)
        case exceptions.APIException():
            headers = {}
            if header := getattr(exc, "auth_header", None):
                headers["WWW-Authenticate"] = header
            if (wait := getattr(exc, "wait", None)) is not None:
                headers["Retry-After"] = str(max(1, round(wait)))
            codes = exc.get_codes()
            code = codes if isinstance(codes, str) else exc.default_code
            return Problem(HTTPStatus(exc.status_code), code, str(exc.detail), headers=headers)
        case Http404():
            return Problem(HTTPStatus.NOT_FOUND, "not_found", str(exc) or "There is no such thing here.")
        case RequestDataTooBig():
            return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", "The request is far too large.")
        case UnreadablePostError():
            return Problem(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The body did not come, or came too slowly.")
        case PermissionDenied():
            return Problem(HTTPStatus.FORBIDDEN, "permission_denied", "This key may not do that.")
        case OperationalError() | InterfaceError() if is_of_connection(exc):
            logger.error("The database cannot be reached: %s", type(exc.__cause__ or exc).__name__)
            detail = "The database cannot be reached at the moment; the same request can be sent again."
            return _unavailable("database_unavailable", detail)
        case OSError() if exc.errno in _NO_ROOM:
            logger.error("There is no room to take the request in: %s", exc.strerror)
            return _unavailable("storage_unavailable", "There is no room for the request at the moment.")
    return None


def is_of_connection(error: Exception) -> bool:
    """Say of a database error whether the server or the way to it is gone, rather than the statement wrong."""
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith("08") or state in _SERVER_GOES


def _unavailable(code: str, detail: str) -> Problem:
    headers = {"Retry-After": str(_RETRY_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers=headers)


def _flatten(details: Any, pointer: str) -> Iterator[FieldProblem]:
    match details:
        case {"message": str(message), "code": str(code)}:
            yield FieldProblem(_sendable(pointer), code, _sendable(message))
        case dict():
            for name, inner in details.items():
                step = "" if name == "non_field_errors" else f"/{_escape(str(name))}"
                yield from _flatten(inner, pointer + step)
        case list():
            leaves = all(isinstance(item, dict) and {"message", "code"} == item.keys() for item in details)
            for index, item in enumerate(details):
                # DRF lists the complaints about one field, but also the rows of a list field.
                yield from _flatten(item, pointer if leaves else f"{pointer}/{index}")


def _sendable(text: str) -> str:
    # JSON may escape half a surrogate pair; quoted back to the caller, it could not be encoded.
    return text.encode(errors="replace").decode()


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def problem_page(status: HTTPStatus, code: str, detail: str) -> JsonResponse:
    """Answer outside of any view of the API."""
    return _sent(Problem(status, code, detail))


def _sent(problem: Problem) -> JsonResponse:
    headers = dict(problem.headers)
    return JsonResponse(problem.body(), status=problem.status.value, content_type=CONTENT_TYPE, headers=headers)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer what Django itself refuses, such as too many fields."""
    return problem_page(HTTPStatus.BAD_REQUEST, "bad_request", "The request could not be read.")


def forbidden(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer what Django itself forbids."""
    return problem_page(HTTPStatus.FORBIDDEN, "permission_denied", "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer a path that leads nowhere."""
    return problem_page(HTTPStatus.NOT_FOUND, "not_found", f"There is nothing at {request.path}.")


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer when we failed; the log knows why. Django calls it while it handles the error."""
    error = sys.exception()
    problem = _problem(error) if isinstance(error, Exception) else None
    if problem is not None and problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _sent(problem)
    return problem_page(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error", "This is our fault; it has been logged.")
