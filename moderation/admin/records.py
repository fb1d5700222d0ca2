"""What was done about photos and posts, to be read alone: analyses and verdicts."""

from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from moderation.admin_parts import ModelAdmin, ReadOnly, label, link_to, outcome_label
from moderation.models import Analysis, Verdict


class FailureFilter(admin.SimpleListFilter):
    """Narrow analyses to those that were given up for a reason."""

    title = "failure"
    parameter_name = "failure"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the reasons there are."""
        failed = Analysis.objects.filter(status=Analysis.Status.FAILED).order_by("failure_code")
        return [(code, code) for code in failed.values_list("failure_code", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow."""
        if not self.value():
            return queryset
        return queryset.filter(status=Analysis.Status.FAILED, failure_code=self.value())


@admin.register(Analysis)
class AnalysisAdmin(ReadOnly, ModelAdmin[Analysis]):
    list_display = ("photo_id", "post", "state", "attempts", "failure_code", "milliseconds", "queued_at", "finished_at")
    list_filter = ("status", FailureFilter)
    list_select_related = ("photo",)
    search_fields = ("photo",)
    search_help_text = "a photo's or a post's id, or how its author's id begins"
    searched_ids = {"pho": ["pk"], "post": ["photo__post"]}
    author_path = "photo__post__author"
    # The youngest photo first: as ids sort by time, an index has them so.
    ordering = ("-pk",)
    exclude = ("token",)

    @admin.display(description="post")
    def post(self, row: Analysis) -> SafeString:
        """Return a link to the post."""
        return link_to("moderation_post", row.photo.post_id, row.photo.post_id)

    @admin.display(description="status", ordering="status")
    def state(self, row: Analysis) -> SafeString:
        """Return the status."""
        return label(row.status, row.status)

    @admin.display(description="ms", ordering=F("decode_ms") + F("detect_ms") + F("classify_ms"))
    def milliseconds(self, row: Analysis) -> str:
        """Return how long the photo was looked at."""
        times = (row.decode_ms, row.detect_ms, row.classify_ms)
        return "–" if None in times else f"{sum(time or 0.0 for time in times):.1f}"


@admin.register(Verdict)
class VerdictAdmin(ReadOnly, ModelAdmin[Verdict]):
    list_display = ("id", "post_page", "result", "source", "decided_by", "policy", "created_at")
    list_filter = ("outcome", "source", "post__platform")
    list_select_related = ("policy__platform", "decided_by")
    search_fields = ("post",)
    search_help_text = "a verdict's or a post's id, or how its author's id begins"
    searched_ids = {"ver": ["pk"], "post": ["post"]}
    author_path = "post__author"
    ordering = ("-id",)

    @admin.display(description="post")
    def post_page(self, verdict: Verdict) -> SafeString:
        """Return a link to the post."""
        return link_to("moderation_post", verdict.post_id, verdict.post_id)

    @admin.display(description="outcome", ordering="outcome")
    def result(self, verdict: Verdict) -> SafeString:
        """Return the outcome in its colour."""
        return outcome_label(verdict.outcome)
