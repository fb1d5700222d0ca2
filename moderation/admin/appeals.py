"""Appeals: the author's word beside the photo, and the decision."""

from copy import copy
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.views.decorators.http import require_POST

from moderation import reviews, selectors, staff
from moderation.admin.forms import AppealForm
from moderation.admin_parts import ModelAdmin, Operated, label, member, outcome_label
from moderation.models import Appeal

# The open ones first, in the order they came; then the decided ones, the newest first.
_OPEN_FIRST = (Case(When(status=Appeal.Status.OPEN, then=F("id"))).asc(nulls_last=True), "-id")


@admin.register(Appeal)
class AppealAdmin(Operated, ModelAdmin[Appeal]):
    list_display = ("id", "state", "words", "doubted", "author_name", "created_at", "decided_by", "decided_at")
    list_filter = ("status", "post__platform")
    list_select_related = ("post__author", "against", "decided_by")
    search_fields = ("post",)
    searched_ids = {"apl": ["pk"], "post": ["post"]}
    author_path = "post__author"
    search_help_text = "an appeal's or a post's id, or how its author's id begins"
    ordering = _OPEN_FIRST
    change_form_outer_before_template = "moderation/appeal_page.html"

    class Media:
        css = {"all": ["moderation/panel.css"]}

    def get_fieldsets(self, request: HttpRequest, obj: Appeal | None = None) -> list[Any]:
        """Show no fields: the panel tells all."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """Add the decision."""
        view = self.admin_site.admin_view(require_POST(self.decide_view))
        return [path("<path:object_id>/decide/", view, name="moderation_appeal_decide"), *super().get_urls()]

    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Uphold or dismiss; what is refused is shown with the reason."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        appeal = get_object_or_404(Appeal.objects.select_related("post", "against"), pk=unquote(object_id))
        form = AppealForm(appeal, request.POST)
        if form.is_valid():
            said = form.cleaned_data
            try:
                if said["decision"] == AppealForm.UPHOLD:
                    appeal = reviews.uphold(appeal, said["outcome"], member(request), said["answer"])
                else:
                    appeal = reviews.dismiss(appeal, member(request), said["answer"])
            except reviews.ReviewError as error:
                form.add_error(None, str(error))
            else:
                self.log_change(request, appeal, f"{appeal.get_status_display()}: {appeal.answer}")
                messages.success(request, f"The appeal was {appeal.status}.")
                return HttpResponseRedirect(reverse("admin:moderation_appeal_changelist"))
        shown = copy(request)
        shown.method = "GET"  # Django refuses to show what is read only by POST
        return self.change_view(shown, object_id, extra_context={"form": form})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show an appeal with all of its post."""
        appeal = Appeal.objects.select_related("against", "verdict", "decided_by").filter(pk=unquote(object_id)).first()
        context: dict[str, Any] = {}
        if appeal is not None:
            post = selectors.posts_in_full().get(pk=appeal.post_id)
            context = {
                **staff.post_context(post, request),
                "appeal": appeal,
                "against_label": outcome_label(appeal.against.outcome),
                "obstacle": reviews.obstacle(post),
                "may_decide": self.has_operate_permission(request),
                "form": AppealForm(appeal),
                "decide_url": reverse("admin:moderation_appeal_decide", args=[quote(appeal.pk)]),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context | (extra_context or {}))
        return response

    @admin.display(description="status", ordering="status")
    def state(self, appeal: Appeal) -> SafeString:
        """Return the status in its colour."""
        return label(appeal.status, appeal.status)

    @admin.display(description="statement")
    def words(self, appeal: Appeal) -> str:
        """Return how the statement begins."""
        return Truncator(appeal.statement).chars(80)

    @admin.display(description="against", ordering="against__outcome")
    def doubted(self, appeal: Appeal) -> SafeString:
        """Return the outcome that is doubted."""
        return outcome_label(appeal.against.outcome)

    @admin.display(description="author", ordering="post__author__external_id")
    def author_name(self, appeal: Appeal) -> str:
        """Return whose post it is about."""
        return appeal.post.author.external_id
