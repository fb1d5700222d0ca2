"""The call that ranks a feed: up to ten thousand candidates in, their order out.

Serializers would take more of the time than all else. So msgspec reads what is in order; what it refuses goes to the
serializer, which knows more forms and has the last word, with a pointer to each field that is wrong.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import Annotated, Any

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from incentives import examples, feed
from incentives.feed import LONGEST_AUTHOR_ID, LONGEST_POST_ID, MAX_AGE_SECONDS, MAX_SCORE, Candidate
from mask_social import clock
from mask_social.bodies import refuse_large
from moderation.authentication import platform_of
from moderation.models import ApiKey
from moderation.parsers import JsonParser, decode_json
from moderation.schema import errors
from moderation.serializers import StrictSerializer

MAX_CANDIDATES = 10_000
# Room for as many with the longest ids; other calls take less (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_BODY_BYTES = 4 * 1024 * 1024
# An answer of ten thousand refusals would help nobody.
MOST_PROBLEMS = 100


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A request that is in order."""

    candidates: Annotated[list[Candidate], msgspec.Meta(min_length=1, max_length=MAX_CANDIDATES)]


_decoder = msgspec.json.Decoder(Body)


class NumberField(serializers.FloatField):
    """A finite JSON number: neither text nor true, and no NaN, which compares with nothing."""

    def to_internal_value(self, data: Any) -> float:
        """Refuse what merely can be turned into a number."""
        if isinstance(data, bool | str):
            self.fail("invalid")
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class CandidateSerializer(StrictSerializer):
    post_id = serializers.CharField(max_length=LONGEST_POST_ID)
    base_score = NumberField(min_value=0, max_value=MAX_SCORE)
    age_seconds = NumberField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_AGE_SECONDS,
        help_text="how old the post is to the platform; where not given, the boost fades since it began",
    )
    author_id = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=LONGEST_AUTHOR_ID,
        trim_whitespace=False,
        help_text="your own id of the author, for posts that were never sent to us; of others we know it",
    )


class RankRequestSerializer(StrictSerializer):
    candidates = serializers.ListField(child=CandidateSerializer(), min_length=1, max_length=MAX_CANDIDATES)


class FactorsSerializer(serializers.Serializer[Any]):
    """What the score was multiplied by."""

    mask_boost = serializers.FloatField(help_text="from 1 to the cap of the boost; fades")
    author_diversity = serializers.FloatField(
        help_text="1 for an author's first post in this ranking, less for each further one, down to a floor"
    )


class RankedSerializer(serializers.Serializer[feed.Ranked]):
    post_id = serializers.CharField()
    rank = serializers.IntegerField()
    score = serializers.FloatField(help_text="base score times factor")
    factor = serializers.FloatField(help_text="the product of the factors")
    factors = FactorsSerializer()
    reason = serializers.ChoiceField(
        [reason.value for reason in feed.Reason], help_text="why the mask boost is what it is"
    )
    why = serializers.CharField(
        allow_null=True, help_text="a sentence for viewers; null where the post stands as its score has it"
    )


class RankingSerializer(serializers.Serializer[Any]):
    ranking = RankedSerializer(many=True)


class CandidatesParser(BaseParser):
    """Parse JSON that may be longer than that of other calls; what is in order comes out as a body of candidates."""

    media_type = JsonParser.media_type

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return what the body says."""
        context = parser_context or {}
        refuse_large(context["request"].META, MAX_BODY_BYTES)
        content = stream.read(MAX_BODY_BYTES)
        encoding = context.get("encoding", "utf-8")
        body = plainly_right(content) if encoding.lower() == "utf-8" else None
        return decode_json(BytesIO(content), parser_context) if body is None else body


class RankView(APIView):
    required_scope = ApiKey.Scope.FEED_RANK
    parser_classes = (CandidatesParser,)

    @extend_schema(
        operation_id="rank_feed",
        summary="Order a feed by score, boost and author",
        request=RankRequestSerializer,
        responses={200: RankingSerializer}
        | errors(
            {
                HTTPStatus.BAD_REQUEST: ("validation_error", "required", "unknown_field", "duplicate_post"),
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("request_too_large",),
            }
        ),
        examples=[
            OpenApiExample("two posts", examples.RANK_REQUEST, request_only=True),
            OpenApiExample("the boosted one first", examples.RANKING, response_only=True),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Multiply each candidate's score by its factors; posts we do not know are not boosted."""
        body: Any = request.data
        candidates = body.candidates if isinstance(body, Body) else judged(body)
        ranking = feed.rank(platform_of(request).pk, candidates, clock.now())
        return HttpResponse(msgspec.json.encode({"ranking": ranking}), content_type="application/json")


def plainly_right(content: bytes) -> Body | None:
    """Return a body that is in order; None where that is not plain to see."""
    try:
        body = _decoder.decode(content)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    each = {candidate.post_id for candidate in body.candidates}
    return body if len(each) == len(body.candidates) else None


def judged(body: Any) -> list[Candidate]:
    """Return the candidates of a body, or say which are wrong and where."""
    found: list[Candidate] = []
    problems: dict[int, Any] = {}
    seen: set[str] = set()
    for place, row in enumerate(_rows(body)):
        serializer = CandidateSerializer(data=row)
        if not serializer.is_valid():
            problems[place] = serializer.errors
        else:
            candidate = Candidate(**serializer.validated_data)
            if candidate.post_id in seen:  # it could not have one rank
                message = "This post is among the candidates already."
                problems[place] = {"post_id": [ErrorDetail(message, code="duplicate_post")]}
            seen.add(candidate.post_id)
            found.append(candidate)
        if len(problems) == MOST_PROBLEMS:
            break
    if problems:
        refusal: Any = {"candidates": problems}  # the stubs know of no numbers as keys
        raise serializers.ValidationError(refusal)
    return found


def _rows(body: Any) -> Sequence[Any]:
    rows = body.get("candidates") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(rows, list) or not rows:
        # It refuses this before it comes to any candidate.
        RankRequestSerializer().run_validation(body)
        raise AssertionError("It has let a body pass that is none.")
    if len(rows) > MAX_CANDIDATES:
        message = f"Send no more than {MAX_CANDIDATES} candidates."
        raise serializers.ValidationError({"candidates": [ErrorDetail(message, code="max_length")]})
    return rows
