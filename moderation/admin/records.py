"""What was done about photos and posts, to be read alone: analyses and verdicts."""

from django.contrib import admin
from django.db.models import F
from django.utils.safestring import SafeString

from moderation.admin_parts import ModelAdmin, ReadOnly, label, link_to, outcome_label
from moderation.models import Analysis, Verdict


@admin.register(Analysis)
class AnalysisAdmin(ReadOnly, ModelAdmin[Analysis]):
    list_display = ("photo_id", "post", "state", "attempts", "failure_code", "milliseconds", "queued_at", "finished_at")
    list_filter = ("status", "failure_code")
    list_select_related = ("photo",)
    show_full_result_count = False
    search_fields = ("=photo__id", "=photo__post__id")
    ordering = ("-queued_at",)
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
    list_filter = ("outcome", "source", ("post__platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("policy__platform", "decided_by")
    show_full_result_count = False
    search_fields = ("=id", "=post__id", "post__author__external_id__startswith")
    ordering = ("-id",)

    @admin.display(description="post")
    def post_page(self, verdict: Verdict) -> SafeString:
        """Return a link to the post."""
        return link_to("moderation_post", verdict.post_id, verdict.post_id)

    @admin.display(description="outcome", ordering="outcome")
    def result(self, verdict: Verdict) -> SafeString:
        """Return the outcome in its colour."""
        return outcome_label(verdict.outcome)
