"""What speaks against posts that only look like new ones: near-duplicates side by side, flags, and the rules."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from incentives.models import Claim, EarningRules, Flag
from mask_social import clock
from moderation import staff
from moderation.admin_parts import ModelAdmin, ReadOnly, label, link_to
from moderation.models import Photo, Post


@admin.register(EarningRules)
class EarningRulesAdmin(ModelAdmin[EarningRules]):
    list_display = (
        "scope",
        "judges_duplicates",
        "cooldown_seconds",
        "posts_per_day",
        "min_account_age_days",
        "updated_at",
    )
    list_select_related = ("platform",)
    fieldsets = (
        (None, {"fields": ("platform",)}),
        (
            "What a masked post must be to earn anything",
            {"fields": ("judges_duplicates", "cooldown_seconds", "posts_per_day", "min_account_age_days")},
        ),
        ("When staff are told of a pace that nobody keeps", {"fields": (("velocity_posts", "velocity_seconds"),)}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: EarningRules | None = None) -> tuple[str, ...]:
        """Keep whose rules they are."""
        return () if obj is None else ("platform",)

    def has_delete_permission(self, request: HttpRequest, obj: EarningRules | None = None) -> bool:
        """Refuse to leave everybody without rules."""
        everybodys = obj is not None and obj.platform_id is None
        return not everybodys and super().has_delete_permission(request, obj)

    @admin.display(description="for", ordering="platform")
    def scope(self, rules: EarningRules) -> str:
        """Say for whom they are."""
        return rules.platform.name if rules.platform else "every platform without its own"


class RulingFilter(admin.SimpleListFilter):
    """Show what was refused; what counts would bury it."""

    title = "ruling"
    parameter_name = "ruling"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the rulings."""
        return [choice for choice in Claim.Ruling.choices if choice[0] != Claim.Ruling.COUNTS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow."""
        return queryset.filter(ruling=self.value()) if self.value() else queryset.exclude(ruling=Claim.Ruling.COUNTS)


@admin.register(Claim)
class ClaimAdmin(ReadOnly, ModelAdmin[Claim]):
    """Posts that are masked and earn nothing all the same, with the pair of photos where there is one."""

    list_display = ("post_link", "author", "ruling_shown", "pair", "bits", "decided_at")
    list_display_links = None
    list_filter = (RulingFilter, "post__platform")
    list_select_related = ("post__author", "earlier__post__author")
    list_per_page = 25
    search_fields = ("post",)
    searched_ids = {"post": ["post", "earlier__post"]}
    author_path = "post__author"
    search_help_text = "a post's id, or how its author's id begins"
    fields = ("post_link", "author", "ruling_shown", "large_pair", "bits", "earlier_post", "decided_at")
    readonly_fields = fields

    @admin.display(description="post")
    def post_link(self, claim: Claim) -> SafeString:
        """Lead to the pair where there is one, else to the post."""
        page = "incentives_claim" if claim.photo_id else "moderation_post"
        return link_to(page, claim.post_id, claim.post_id)

    @admin.display(description="author", ordering="post__author__external_id")
    def author(self, claim: Claim) -> str:
        """Return whose post it is."""
        return claim.post.author.external_id

    @admin.display(description="why it earns nothing", ordering="ruling")
    def ruling_shown(self, claim: Claim) -> SafeString:
        """Return the ruling in its colour."""
        return label(claim.ruling, claim.get_ruling_display())

    @admin.display(description="the photo and the earlier one")
    def pair(self, claim: Claim) -> SafeString:
        """Show the two photos, small."""
        return _pair(claim, thumbnail=True)

    @admin.display(description="the photo and the earlier one")
    def large_pair(self, claim: Claim) -> SafeString:
        """Show the two photos side by side."""
        return _pair(claim, thumbnail=False)

    @admin.display(description="bits that differ", ordering="distance")
    def bits(self, claim: Claim) -> str:
        """Return the distance."""
        return "–" if claim.distance is None else f"{claim.distance} of 256"

    @admin.display(description="the earlier post")
    def earlier_post(self, claim: Claim) -> SafeString:
        """Lead to the earlier post."""
        if claim.earlier is None:
            return format_html("{}", "erased" if claim.photo_id else "–")
        post: Post = claim.earlier.post
        return format_html("{} by {}", link_to("moderation_post", post.pk, post.pk), post.author.external_id)


def _pair(claim: Claim, *, thumbnail: bool) -> SafeString:
    if claim.photo_id is None:
        return format_html("{}", "–")
    context = {
        "photo_url": staff.photo_url(claim.photo_id, thumbnail=thumbnail),
        "earlier_url": _url(claim.earlier, thumbnail=thumbnail),
        "side": 64 if thumbnail else 420,
    }
    return render_to_string("incentives/pair.html", context)


def _url(photo: Photo | None, *, thumbnail: bool) -> str | None:
    return None if photo is None else staff.photo_url(photo.pk, thumbnail=thumbnail)


class FlagForm(forms.ModelForm[Flag]):
    """What staff make of a flag."""

    class Meta:
        model = Flag
        fields = ("status", "note")

    def clean(self) -> dict[str, Any]:
        """Ask for a word about the decision."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("status") != Flag.Status.OPEN and not (cleaned.get("note") or "").strip():
            raise ValidationError({"note": "Say in a word why."})
        return cleaned


@admin.register(Flag)
class FlagAdmin(ModelAdmin[Flag]):
    form = FlagForm
    list_display = ("author", "kind_shown", "count", "day", "state", "decided_by", "created_at")
    list_filter = ("status", "kind", "author__platform")
    list_select_related = ("author", "decided_by")
    show_full_result_count = False
    search_fields = ("author__external_id__startswith",)
    search_help_text = "how the author's id begins"
    fields = ("author", "kind", "count", "day", "latest_post", "status", "note", "decided_by", "decided_at")
    readonly_fields = ("author", "kind", "count", "day", "latest_post", "decided_by", "decided_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: the rules raise flags."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Flag | None = None) -> bool:
        """Refuse: what was looked at stays known."""
        return False

    def save_model(self, request: HttpRequest, obj: Flag, form: forms.ModelForm[Flag], change: bool) -> None:
        """Note who decided, and when."""
        is_open = obj.status == Flag.Status.OPEN
        obj.decided_by_id = None if is_open else request.user.pk
        obj.decided_at = None if is_open else clock.now()
        obj.save(update_fields=["status", "note", "decided_by", "decided_at"])

    @admin.display(description="what", ordering="kind")
    def kind_shown(self, flag: Flag) -> str:
        """Return the kind in words."""
        return flag.get_kind_display()

    @admin.display(description="status", ordering="status")
    def state(self, flag: Flag) -> SafeString:
        """Return the status in its colour."""
        return label(flag.status, flag.get_status_display())

    @admin.display(description="the latest post of them")
    def latest_post(self, flag: Flag) -> SafeString:
        """Lead to the post."""
        return link_to("moderation_post", flag.post_id, flag.post_id)
