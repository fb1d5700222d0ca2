"""Posts with their faces drawn, the queue of doubtful ones, and the reviewer's word on each."""

from copy import copy
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types

from moderation import audit, reevaluation, reviews, selectors, staff
from moderation.admin.forms import OverruleForm
from moderation.admin_parts import NOT_YET, ModelAdmin, ReadOnly, label, member, outcome_label
from moderation.audit import Deed
from moderation.models import Photo, Post, Verdict

# More than these are the work of a re-evaluation, which goes on in a worker.
JUDGED_AT_ONCE = 500
QUEUE_PAGE = 60


class OutcomeFilter(admin.SimpleListFilter):
    """Narrow posts by the verdict that holds."""

    title = "verdict"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the outcomes."""
        return [*Verdict.Outcome.choices, ("none", NOT_YET)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow."""
        if self.value() is None:
            return queryset
        return queryset.filter(outcome="" if self.value() == "none" else self.value())


@admin.register(Post)
class PostAdmin(ReadOnly, ModelAdmin[Post]):
    list_display = ("thumbnail", "id", "author_name", "platform_name", "verdict", "state", "created_at")
    list_display_links = ("thumbnail", "id")
    list_filter = (OutcomeFilter, "status", "platform")
    list_per_page = 50
    search_fields = ("author",)
    searched_ids = {"post": ["pk"]}
    author_path = "author"
    search_help_text = "the author's id, or how it begins; or a post's id"
    actions = ("judge_anew",)
    actions_list = ("lead_to_queue",)
    change_form_outer_before_template = "moderation/post_page.html"

    class Media:
        css = {"all": ["moderation/panel.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Post]:
        """Return posts with all that a row shows."""
        return _with_thumbnails(super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Post | None = None) -> list[Any]:
        """Show no fields: the panel tells all."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """Add the photos, the queue and the reviewer's word."""
        wrap = self.admin_site.admin_view
        return [
            path("photo/<slug:photo_id>", wrap(self.photo_view, cacheable=True), name="moderation_photo_file"),
            path("queue/", wrap(self.queue_view), name="moderation_post_queue"),
            path("<path:object_id>/overrule/", wrap(require_POST(self.overrule_view)), name="moderation_post_overrule"),
            *super().get_urls(),
        ]

    def has_overrule_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to add verdicts."""
        return bool(request.user.has_perm("moderation.add_verdict"))

    def has_judge_anew_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to start re-evaluations."""
        return bool(request.user.has_perm("moderation.add_reevaluation"))

    def photo_view(self, request: HttpRequest, photo_id: str) -> HttpResponse:
        """Show a stored photo to staff who may see posts."""
        if not self.has_view_permission(request):
            raise Http404
        photo = get_object_or_404(Photo, pk=photo_id)
        try:
            content = staff.read_photo(photo, thumbnail="thumbnail" in request.GET)
        except FileNotFoundError:
            raise Http404 from None
        if "thumbnail" not in request.GET:
            audit.record(Deed.to(photo, "view", {"post": photo.post_id}))
        headers = {
            "Cache-Control": "private, max-age=86400, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
        return HttpResponse(content, content_type="image/jpeg", headers=headers)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Keep whose photos were on the list."""
        response: Any = super().changelist_view(request, extra_context)
        if request.method == "GET" and (shown := (getattr(response, "context_data", None) or {}).get("cl")):
            _keep_that_seen([post.pk for post in shown.result_list])
        answer: HttpResponse = response
        return answer

    def queue_view(self, request: HttpRequest) -> HttpResponse:
        """Show the posts that only people can judge, those that wait longest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        waiting = selectors.queue()
        page = list(_with_thumbnails(waiting.filter(pk__gt=request.GET.get("after", "")))[: QUEUE_PAGE + 1])
        _keep_that_seen([post.pk for post in page[:QUEUE_PAGE]])
        context = {
            **self.admin_site.each_context(request),
            "title": "Posts that people must judge",
            "opts": self.opts,
            "media": self.media,
            "rows": [_in_queue(post) for post in page[:QUEUE_PAGE]],
            "last": page[QUEUE_PAGE - 1] if page[QUEUE_PAGE:] else None,
            "waiting": waiting.count(),
            "open_appeals": selectors.open_appeals().count(),
        }
        return TemplateResponse(request, "moderation/queue.html", context)

    def overrule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take the reviewer's word; what is refused is shown with the reason."""
        if not self.has_overrule_permission(request):
            raise PermissionDenied("moderation.add_verdict")
        post = get_object_or_404(Post, pk=unquote(object_id))
        form = OverruleForm(request.POST)
        if form.is_valid():
            said = form.cleaned_data
            try:
                verdict = reviews.overrule(post, said["outcome"], member(request), said["reason"], seen=said["seen"])
            except reviews.ReviewError as error:
                form.add_error(None, str(error))
            else:
                self.log_change(request, post, f"Verdict: {verdict.get_outcome_display()}. {verdict.reason}")
                messages.success(request, f"The verdict on {post} is “{verdict.get_outcome_display()}” now.")
                return HttpResponseRedirect(_next_url(post, from_queue="queue" in request.GET))
        shown = copy(request)
        shown.method = "GET"  # Django refuses to show what is read only by POST
        return self.change_view(shown, object_id, extra_context={"form": form})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a post: photos with their faces, verdicts, appeals, what became of it."""
        post = selectors.posts_in_full().filter(pk=unquote(object_id)).first()
        context: dict[str, Any] = {}
        if post is not None:
            latest = selectors.latest_verdict(post)
            from_queue = "queue" in request.GET
            context = {
                **staff.post_context(post, request),
                "obstacle": reviews.obstacle(post),
                "may_overrule": self.has_overrule_permission(request),
                "form": OverruleForm(initial={"seen": latest.pk if latest else ""}),
                "overrule_url": reverse("admin:moderation_post_overrule", args=[quote(post.pk)])
                + ("?queue" if from_queue else ""),
                "next_url": _next_url(post, from_queue=True) if from_queue else None,
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context | (extra_context or {}))
        return response

    @admin.action(description="Judge the stored faces by today's policy", permissions=["judge_anew"])
    def judge_anew(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        """Judge the selected posts anew; nothing is looked at again."""
        chosen = list(queryset.values_list("pk", flat=True)[: JUDGED_AT_ONCE + 1])
        if len(chosen) > JUDGED_AT_ONCE:
            messages.error(request, f"These are more than {JUDGED_AT_ONCE} posts: start a re-evaluation instead.")
            return
        changed = reevaluation.judge_anew(chosen, f"Asked for by {request.user}.")
        messages.success(request, f"{changed} of {len(chosen)} have another verdict now. People's verdicts were left.")

    @action(description="Posts to judge", url_path="to-queue", icon="rule")  # type: ignore[untyped-decorator]  # unfold
    def lead_to_queue(self, request: HttpRequest) -> HttpResponse:
        """Lead to the queue."""
        return HttpResponseRedirect(reverse("admin:moderation_post_queue"))

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


def _keep_that_seen(posts: list[str]) -> None:
    if posts:
        audit.record(Deed("view", Photo._meta.label_lower, details={"posts": posts}))


def _with_thumbnails(posts: QuerySet[Post]) -> QuerySet[Post]:
    photos = Photo.objects.only("id", "post_id", "position").order_by("position")
    return posts.select_related("author", "platform").prefetch_related(Prefetch("photos", photos))


def _in_queue(post: Post) -> dict[str, object]:
    photos = list(post.photos.all())
    url = staff.photo_url(photos[0].pk, thumbnail=True) if photos else None
    return {"post": post, "photo_url": url, "photos": len(photos)}


def _next_url(post: Post, *, from_queue: bool) -> str:
    """Return where to go on after a post: the next of the queue, or the post itself."""
    if not from_queue:
        return reverse("admin:moderation_post_change", args=[quote(post.pk)])
    following = selectors.queue().filter(pk__gt=post.pk).values_list("pk", flat=True).first()
    if following is None:
        return reverse("admin:moderation_post_queue")
    return reverse("admin:moderation_post_change", args=[quote(following)]) + "?queue"
