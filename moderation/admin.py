"""What staff see and do: posts with their faces drawn, verdicts, policies, platforms and their keys."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import Count, F, Max, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget  # type: ignore[import-untyped]  # as above

from moderation import api_keys, selectors, staff
from moderation.admin_parts import ModelAdmin, ReadOnly, TabularInline, label, link_to
from moderation.models import Analysis, ApiKey, Author, Photo, Platform, Policy, Post, Verdict
from moderation.verdicts import STATES

_NOT_YET = "no verdict yet"


def outcome_label(outcome: str | None) -> SafeString:
    """Return an outcome in its colour."""
    return label(outcome or "", Verdict.Outcome(outcome).label if outcome else _NOT_YET)


class OutcomeFilter(admin.SimpleListFilter):
    """Narrow posts by the verdict that holds."""

    title = "verdict"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the outcomes."""
        return [*Verdict.Outcome.choices, ("none", _NOT_YET)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow."""
        if self.value() is None:
            return queryset
        return queryset.filter(outcome="" if self.value() == "none" else self.value())


@admin.register(Post)
class PostAdmin(ReadOnly, ModelAdmin[Post]):
    list_display = ("thumbnail", "id", "author_name", "platform_name", "verdict", "state", "created_at")
    list_display_links = ("thumbnail", "id")
    list_filter = (OutcomeFilter, "status", ("platform", admin.RelatedOnlyFieldListFilter))
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("author__external_id__startswith", "=id")
    search_help_text = "the author's id, or how it begins; or a post's id"
    change_form_outer_before_template = "moderation/post_panel.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Post]:
        """Return posts with all that a row shows."""
        photos = Photo.objects.only("id", "post_id", "position").order_by("position")
        rows: QuerySet[Post] = super().get_queryset(request)
        return rows.select_related("author", "platform").prefetch_related(Prefetch("photos", photos))

    def get_fieldsets(self, request: HttpRequest, obj: Post | None = None) -> list[Any]:
        """Show no fields: the panel tells all."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """Add the address of photos."""
        view = self.admin_site.admin_view(self.photo_view, cacheable=True)
        return [path("photo/<slug:photo_id>", view, name="moderation_photo_file"), *super().get_urls()]

    def photo_view(self, request: HttpRequest, photo_id: str) -> HttpResponse:
        """Show a stored photo to staff who may see posts."""
        if not self.has_view_permission(request):
            raise Http404
        photo = get_object_or_404(Photo, pk=photo_id)
        try:
            content = staff.read_photo(photo, thumbnail="thumbnail" in request.GET)
        except FileNotFoundError:
            raise Http404 from None
        headers = {
            "Cache-Control": "private, max-age=86400, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
        return HttpResponse(content, content_type="image/jpeg", headers=headers)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a post: photos with their faces, verdicts, stages."""
        post = selectors.posts_in_full().filter(pk=unquote(object_id)).first()
        context = extra_context or {}
        if post is not None:
            latest = selectors.latest_verdict(post)
            context |= {
                "panel": staff.post_panel(post),
                "verdict_label": outcome_label(latest.outcome if latest else None),
                "status_label": label(post.status, post.status),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    @admin.display(description="photo")
    def thumbnail(self, post: Post) -> SafeString:
        """Show the first photo, and how many more there are."""
        photos = list(post.photos.all())
        if not photos:
            return format_html("{}", "–")
        more = (
            format_html('<span style="margin-left:.4rem;opacity:.7">+{}</span>', len(photos) - 1) if photos[1:] else ""
        )
        return format_html(
            '<span style="display:inline-flex;align-items:center"><img src="{}" alt="" loading="lazy" '
            'style="width:56px;height:56px;object-fit:cover;object-position:50% 15%;border-radius:8px">{}</span>',
            staff.photo_url(photos[0].pk, thumbnail=True),
            more,
        )

    @admin.display(description="author", ordering="author__external_id")
    def author_name(self, post: Post) -> str:
        """Return the author's id."""
        return post.author.external_id

    @admin.display(description="platform", ordering="platform__name")
    def platform_name(self, post: Post) -> str:
        """Return the platform's name."""
        return post.platform.name

    @admin.display(description="verdict", ordering="outcome")
    def verdict(self, post: Post) -> SafeString:
        """Return the verdict that holds."""
        return outcome_label(post.outcome)

    @admin.display(description="status", ordering="status")
    def state(self, post: Post) -> SafeString:
        """Return the status."""
        return label(post.status, post.status)


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
    list_display = ("id", "post_page", "result", "source", "policy", "created_at")
    list_filter = ("outcome", "source", ("post__platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("policy__platform",)
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


class PolicyForm(forms.ModelForm[Policy]):
    def clean(self) -> dict[str, Any]:
        """Say which threshold is out of order; the database would only say that one is."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for state in STATES:
            likely, sure = cleaned.get(f"{state}_likely"), cleaned.get(f"{state}_sure")
            if likely is not None and sure is not None and not 0 <= likely <= sure <= 1:
                self.add_error(f"{state}_likely", "Keep 0 ≤ likely ≤ sure ≤ 1.")
        return cleaned


@admin.register(Policy)
class PolicyAdmin(ModelAdmin[Policy]):
    """A version is added and never edited; the form starts from the version that holds."""

    form = PolicyForm
    list_display = ("version", "scope", "rule", "min_face_score", "min_face_ratio", "note", "created_at")
    list_filter = ("rule", ("platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("platform",)
    ordering = ("-created_at",)
    readonly_fields = ("version",)
    fieldsets = (
        (None, {"fields": ("platform", "version", "rule", "note")}),
        ("Faces that count", {"fields": (("min_face_score", "min_face_ratio"),)}),
        (
            "Thresholds",
            {
                "description": "From “sure” up a face is in the state; below “likely” it is not.",
                "fields": tuple((f"{state}_sure", f"{state}_likely") for state in STATES),
            },
        ),
    )

    def has_change_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        """Refuse: verdicts point to it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        """Refuse: verdicts point to it."""
        return False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start from the newest policy for everybody."""
        newest = dict(Policy.objects.filter(platform=None).order_by("-version").values().first() or {})
        copied = {name: value for name, value in newest.items() if name not in {"id", "version", "note", "created_at"}}
        return copied | super().get_changeform_initial_data(request)

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:
        """Give the next version."""
        last = Policy.objects.filter(platform=obj.platform).aggregate(last=Max("version"))["last"]
        obj.version = (last or 0) + 1
        super().save_model(request, obj, form, change)

    @admin.display(description="for", ordering="platform")
    def scope(self, policy: Policy) -> str:
        """Say for whom it is."""
        return policy.platform.name if policy.platform else "every platform without its own"


class ApiKeyInline(ReadOnly, TabularInline[ApiKey, Platform]):
    model = ApiKey
    fields = readonly_fields = ("name", "prefix", "scopes", "created_at", "last_used_at", "revoked_at")
    extra = 0
    show_change_link = True


@admin.register(Platform)
class PlatformAdmin(ModelAdmin[Platform]):
    list_display = ("name", "slug", "is_active", "posts", "live_keys", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name", "slug")
    fields = ("name", "slug", "is_active")
    inlines = (ApiKeyInline,)
    actions_detail = ("issue_key",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Platform]:
        """Count posts and keys along."""
        posts = Post.objects.filter(platform=OuterRef("pk")).order_by().values("platform").annotate(n=Count("pk"))
        keys = Count("api_keys", filter=Q(api_keys__revoked_at=None))
        rows: QuerySet[Platform] = super().get_queryset(request)
        return rows.annotate(post_count=Subquery(posts.values("n")), key_count=keys)

    def has_delete_permission(self, request: HttpRequest, obj: Platform | None = None) -> bool:
        """Refuse: switch it off instead; posts and money hang on it."""
        return False

    @admin.display(description="posts", ordering="post_count")
    def posts(self, platform: Any) -> int:
        """Return how many posts it sent."""
        return platform.post_count or 0

    @admin.display(description="live keys", ordering="key_count")
    def live_keys(self, platform: Any) -> int:
        """Return how many keys open the door."""
        return int(platform.key_count)

    @action(description="Issue an API key", url_path="issue-key", icon="key")  # type: ignore[untyped-decorator]  # unfold
    def issue_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the form for a key of this platform."""
        return HttpResponseRedirect(reverse("admin:moderation_apikey_add") + f"?platform={object_id}")


class ApiKeyForm(forms.ModelForm[ApiKey]):
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        initial=ApiKey.Scope.values,
        help_text="What the key may do.",
    )


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin[ApiKey]):
    """A key is issued and revoked; nothing else of it can change."""

    form = ApiKeyForm
    list_display = ("name", "platform", "prefix", "state", "scopes", "last_used_at", "created_at")
    list_filter = (("platform", admin.RelatedOnlyFieldListFilter), ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("platform",)
    search_fields = ("name", "=prefix")
    actions = ("revoke_selected",)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """Return what is asked for, or what is known."""
        asked = ("platform", "name", "scopes")
        return asked if obj is None else (*asked, "prefix", "created_at", "last_used_at", "revoked_at")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Refuse: a revoked key stays known as such."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to change keys."""
        return bool(request.user.has_perm("moderation.change_apikey"))

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Issue the key and show it, this once."""
        issued = api_keys.issue_key(obj.platform, name=obj.name, scopes=form.cleaned_data["scopes"])
        obj.pk = issued.api_key.pk
        obj.refresh_from_db()
        shown = format_html("The key, which is shown only now: <code>{}</code>", issued.plaintext)
        messages.warning(request, shown)

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke for good."""
        revoked = sum(api_keys.revoke(api_key) for api_key in queryset)
        messages.success(request, f"{revoked} revoked.")

    @admin.display(description="status")
    def state(self, api_key: ApiKey) -> SafeString:
        """Say whether it opens the door."""
        value = "revoked" if api_key.revoked_at else "active"
        return label(value, value)


@admin.register(Author)
class AuthorAdmin(ReadOnly, ModelAdmin[Author]):
    list_display = ("external_id", "platform", "posts", "created_at")
    list_filter = (("platform", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("platform",)
    search_fields = ("external_id__startswith",)
    ordering = ("-created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Author]:
        """Count posts along."""
        rows: QuerySet[Author] = super().get_queryset(request)
        return rows.annotate(post_count=Count("posts"))

    @admin.display(description="posts", ordering="post_count")
    def posts(self, author: Any) -> SafeString:
        """Return how many posts there are, with a link to them."""
        query = urlencode({"q": author.external_id})
        url = f"{reverse('admin:moderation_post_changelist')}?{query}"
        return format_html('<a href="{}">{}</a>', url, author.post_count)
