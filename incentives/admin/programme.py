"""Badges, campaigns and their books."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from incentives.models import BadgeAward, BadgeRule
from moderation.admin_parts import ModelAdmin, ReadOnly, label, link_to

_AMOUNTS = "in the smallest unit of the currency: 100 is one euro"


@admin.register(BadgeRule)
class BadgeRuleAdmin(ModelAdmin[BadgeRule]):
    list_display = ("title", "code", "kind", "threshold", "holders", "is_active")
    list_filter = ("kind", "is_active")
    search_fields = ("title", "code")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BadgeRule]:
        """Count the holders along."""
        active = Q(awards__status=BadgeAward.Status.ACTIVE)
        return super().get_queryset(request).annotate(holder_count=Count("awards", filter=active))

    def get_readonly_fields(self, request: HttpRequest, obj: BadgeRule | None = None) -> tuple[str, ...]:
        """Keep the code of a rule that exists: another code would be another rule."""
        return () if obj is None else ("code",)

    @admin.display(description="authors who hold it", ordering="holder_count")
    def holders(self, rule: Any) -> int:
        """Return how many authors hold it now."""
        return int(rule.holder_count)


@admin.register(BadgeAward)
class BadgeAwardAdmin(ReadOnly, ModelAdmin[BadgeAward]):
    list_display = ("rule", "author", "platform", "status_shown", "awarded_at", "post")
    list_filter = ("status", "rule", "author__platform")
    list_select_related = ("rule", "author__platform", "verdict")
    search_fields = ("author__external_id", "verdict__post__id")
    fields = ("rule", "author", "platform", "status_shown", "awarded_at", "changed_at", "post", "why")
    readonly_fields = fields
    show_full_result_count = False

    @admin.display(description="platform", ordering="author__platform__slug")
    def platform(self, award: BadgeAward) -> str:
        """Return whose author it is."""
        return str(award.author.platform)

    @admin.display(description="status", ordering="status")
    def status_shown(self, award: BadgeAward) -> SafeString:
        """Return the status in its colour."""
        return label(award.status)

    @admin.display(description="post")
    def post(self, award: BadgeAward) -> SafeString:
        """Lead to the post that tipped the scale."""
        return link_to("moderation_post", award.verdict.post_id, award.verdict.post_id)

    @admin.display(description="evidence")
    def why(self, award: BadgeAward) -> str:
        """Return what was measured."""
        evidence = award.evidence
        return f"{evidence['measured']} of {evidence['threshold']}: {', '.join(evidence['post_ids'])}"
