"""Platforms with their keys, and their authors."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types

from mask_social import clock
from moderation.admin_parts import ModelAdmin, ReadOnly, TabularInline
from moderation.models import ApiKey, Author, Platform, Post


class ApiKeyInline(ReadOnly, TabularInline[ApiKey, Platform]):
    model = ApiKey
    fields = readonly_fields = ("name", "prefix", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
    extra = 0
    show_change_link = True


@admin.register(Platform)
class PlatformAdmin(ModelAdmin[Platform]):
    list_display = ("name", "slug", "is_active", "posts", "live_keys", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name", "slug")
    fields = ("name", "slug", "is_active", "contact_email")
    inlines = (ApiKeyInline,)
    actions_detail = ("issue_key",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Platform]:
        """Count posts and keys along."""
        posts = Post.objects.filter(platform=OuterRef("pk")).order_by().values("platform").annotate(n=Count("pk"))
        unexpired = Q(api_keys__expires_at=None) | Q(api_keys__expires_at__gt=clock.now())
        keys = Count("api_keys", filter=unexpired & Q(api_keys__revoked_at=None))
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
