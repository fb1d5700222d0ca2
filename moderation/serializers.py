"""What goes in and out over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import NoneType
from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.http import QueryDict
from rest_framework import serializers

from mask_social import clock
from moderation.extensions import post_sections
from moderation.models import Analysis, Appeal, Post, Verdict
from moderation.pagination import page_serializer
from moderation.representation import PostView
from moderation.time_zones import validate_time_zone
from moderation.verdicts import STATES

_REGION = RegexValidator(
    r"\A[A-Z]{2}(-[A-Z0-9]{1,3})?\Z", "Use an ISO 3166 code such as DE or US-CA.", code="invalid_region"
)


# What could not stand in a path: control characters, segments that clients resolve away, and what names another page.
_AUTHOR_ID = RegexValidator(
    r"[\x01-\x1f\x7f-\x9f]|(\A|/)\.\.?(/|\Z)|/badges\Z",
    "No control characters, no . or .. between slashes, and no /badges at the end.",
    code="invalid_author_id",
    inverse_match=True,
)

# DRF takes 1 for true, 24 for "24" and the other way round; None is for the field to judge.
_EXACT: Sequence[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str]] = (
    (serializers.CharField, (str, NoneType), "Not a valid string."),
    (serializers.BooleanField, (bool, NoneType), "Must be a valid boolean."),
    (serializers.IntegerField, (int, float, NoneType), "A valid integer is required."),
)

# Clocks differ: an account made just now must not be refused.
_CLOCK_SKEW = timedelta(minutes=5)


def _not_in_future(when: datetime) -> None:
    if when > clock.now() + _CLOCK_SKEW:
        raise serializers.ValidationError(
            "An account cannot have been made in the future.", code="registered_in_future"
        )


class StrictSerializer(serializers.Serializer[Any]):
    # Refuses fields it does not know, for a misspelt one would be lost in silence, and values that merely can be turned
    # into the right type. No docstring: the schema would tell it of every request.

    def to_internal_value(self, data: Any) -> Any:
        """Read the fields."""
        if isinstance(data, Mapping) and (wrong := dict(self._wrong(data))):
            raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)

    def _wrong(self, data: Mapping[Any, Any]) -> Iterator[tuple[str, list[serializers.ErrorDetail]]]:
        for name in sorted(map(str, set(data) - set(self.fields))):
            yield name, [serializers.ErrorDetail("There is no such field.", code="unknown_field")]
        if isinstance(data, QueryDict):
            return  # a form knows text alone
        for name, field in self.fields.items():
            for kind, types, message in _EXACT:
                if type(field) is kind and name in data and not isinstance(data[name], types):
                    yield name, [serializers.ErrorDetail(message, code="invalid")]


class _PostFieldsSerializer(StrictSerializer):
    author_id = serializers.CharField(
        max_length=128,
        trim_whitespace=False,
        validators=[_AUTHOR_ID],
        help_text="your own id of the author; we know nothing else of them",
    )
    caption = serializers.CharField(
        max_length=2200, required=False, allow_blank=True, default="", trim_whitespace=False
    )
    region = serializers.CharField(
        required=False, allow_blank=True, default="", validators=[_REGION], help_text="ISO 3166, such as DE or US-CA"
    )

    author_time_zone = serializers.CharField(
        max_length=64,
        required=False,
        validators=[validate_time_zone],
        help_text="IANA, such as Europe/Berlin; the author's days are counted in it. Kept until another is sent",
    )
    author_registered_at = serializers.DateTimeField(
        required=False,
        validators=[_not_in_future],
        help_text="when the author's account was made on your platform. Kept until another is sent",
    )


class NewPostSerializer(_PostFieldsSerializer):
    """A post of photos that stand on public addresses."""

    photo_urls = serializers.ListField(
        child=serializers.CharField(max_length=2000), required=False, default=list, help_text="http or https"
    )


class NewPostFormSerializer(NewPostSerializer):
    """A post of uploaded photos, in the order they are sent; URLs come after the files."""

    photos = serializers.ListField(
        child=serializers.FileField(),
        required=False,
        help_text=f"1 to {settings.MAX_PHOTOS} photos of at most {settings.MAX_PHOTO_BYTES // 1024**2} MB each",
    )


class ProbabilitiesSerializer(serializers.Serializer[Any]):
    mask = serializers.FloatField()
    no_mask = serializers.FloatField()
    incorrect = serializers.FloatField(help_text="a mask that leaves nose or mouth bare")
    occluded = serializers.FloatField(help_text="something that is no mask hides the mouth")


class FaceSerializer(serializers.Serializer[Any]):
    xyxy = serializers.ListField(
        child=serializers.FloatField(), min_length=4, max_length=4, help_text="pixels of the upright photo"
    )
    score = serializers.FloatField(help_text="how sure the detector is that this is a face")
    label = serializers.ChoiceField(  # type: ignore[assignment]  # a field, not Field.label: DRF takes it out of the class
        choices=[(state, state) for state in STATES], help_text="the likeliest state"
    )
    probabilities = ProbabilitiesSerializer()


class FailureSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()


class TimingsSerializer(serializers.Serializer[Any]):
    decode_ms = serializers.FloatField(allow_null=True)
    detect_ms = serializers.FloatField(allow_null=True)
    classify_ms = serializers.FloatField(allow_null=True)


class PhotoSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    position = serializers.IntegerField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    digest = serializers.CharField(help_text="SHA-256 of the photo as stored")
    status = serializers.ChoiceField(choices=Analysis.Status.choices)
    failure = FailureSerializer(allow_null=True)
    timings = TimingsSerializer()
    faces = FaceSerializer(many=True)


class ModelsSerializer(serializers.Serializer[Any]):
    detector = serializers.CharField(help_text="SHA-256")
    classifier = serializers.CharField(help_text="SHA-256")


class VerdictSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    outcome = serializers.ChoiceField(choices=Verdict.Outcome.choices)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # as `label` above
        choices=Verdict.Source.choices
    )
    policy_version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    models = ModelsSerializer()


class AppealSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=Appeal.Status.choices)
    statement = serializers.CharField()
    verdict_id = serializers.CharField(help_text="the verdict it is against")
    answer = serializers.CharField(allow_null=True, help_text="staff's, once it is decided")
    new_verdict_id = serializers.CharField(
        allow_null=True, help_text="what came of it; null as long as it is open, and where the verdict stands"
    )
    created_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)


class NewAppealSerializer(StrictSerializer):
    """An author's word against the verdict that holds."""

    statement = serializers.CharField(max_length=2000, help_text="why the verdict is wrong, in the author's words")


class StageSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    ms = serializers.FloatField(allow_null=True, help_text="null until the stage is over")


class PostSerializer(serializers.Serializer[PostView]):
    """A post in full."""

    id = serializers.CharField()
    author_id = serializers.CharField()
    caption = serializers.CharField()
    region = serializers.CharField()
    status = serializers.ChoiceField(choices=Post.Status.choices)
    created_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)
    stages = StageSerializer(many=True)
    photos = PhotoSerializer(many=True)
    verdict = VerdictSerializer(allow_null=True)
    appeal = AppealSerializer(allow_null=True, help_text="the latest, where there is one")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add the sections that other apps own."""
        fields = super().get_fields()
        for section in post_sections:
            fields[section.name] = section.serializer(source=f"sections.{section.name}", allow_null=True)
        return fields


class OutcomeField(serializers.ChoiceField):
    def to_representation(self, value: Any) -> Any:
        """Write null for a post that has no verdict yet."""
        return value or None


class PostSummarySerializer(serializers.Serializer[Any]):
    """A post in a list."""

    id = serializers.CharField()
    author_id = serializers.CharField(source="author.external_id")
    caption = serializers.CharField()
    region = serializers.CharField()
    status = serializers.ChoiceField(choices=Post.Status.choices)
    created_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)
    outcome = OutcomeField(choices=Verdict.Outcome.choices, allow_null=True)


AppealPageSerializer = page_serializer(AppealSerializer, "Appeal")
PostPageSerializer = page_serializer(PostSummarySerializer, "Post")
