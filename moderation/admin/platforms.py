"""Platforms with their keys, and their authors."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget  # type: ignore[import-untyped]  # as above

from moderation import api_keys
from moderation.admin_parts import ModelAdmin, ReadOnly, TabularInline, label
from moderation.models import ApiKey, Author, Platform, Post


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
    list_display = ("external_id", "platform", "posts", "time_zone", "registered_at", "created_at")
    list_filter = ("platform",)
    list_select_related = ("platform",)
    search_fields = ("external_id__startswith",)
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Author]:
        """Count posts along."""
        rows: QuerySet[Author] = super().get_queryset(request)
        # Counted for the rows that are shown alone, so it cannot be sorted by.
        posts = Post.objects.filter(author=OuterRef("pk")).order_by().values("author").annotate(n=Count("pk"))
        return rows.annotate(post_count=Coalesce(Subquery(posts.values("n")), 0))

    @admin.display(description="posts")
    def posts(self, author: Any) -> SafeString:
        """Return how many posts there are, with a link to them."""
        query = urlencode({"q": author.external_id})
        url = f"{reverse('admin:moderation_post_changelist')}?{query}"
        return format_html('<a href="{}">{}</a>', url, author.post_count)
