"""Re-evaluations: seen beforehand on the latest posts, started, watched, and cancelled."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from moderation import reevaluation
from moderation.admin.forms import ReevaluationForm
from moderation.admin_parts import ModelAdmin, Operated, label, member, progress
from moderation.models import Reevaluation

# The scope of a job for every platform, in the form.
EVERYBODY = "everybody"


@admin.register(Reevaluation)
class ReevaluationAdmin(Operated, ModelAdmin[Reevaluation]):
    list_display = ("id", "scope", "state", "bar", "changed", "reason", "requested_by", "created_at", "finished_at")
    list_filter = ("status", ("platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("platform", "requested_by")
    actions = ("cancel_selected",)
    fields = ("scope", "reason", "state", "bar", "changed", "requested_by", "created_at", "finished_at")
    readonly_fields = fields

    class Media:
        css = {"all": ["moderation/panel.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask for the right to start re-evaluations."""
        return bool(request.user.has_perm("moderation.add_reevaluation"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what would change, and start when that has been seen."""
        if not self.has_add_permission(request):
            raise PermissionDenied("moderation.add_reevaluation")
        form = ReevaluationForm(request.POST or None)
        context = {
            **self.admin_site.each_context(request),
            "title": "Judge stored faces by today's policy",
            "opts": self.opts,
            "media": self.media,
            "form": form,
        }
        if form.is_valid():
            platform, reason = form.cleaned_data["platform"], form.cleaned_data["reason"]
            scope = platform.pk if platform else EVERYBODY
            if request.POST.get("start") == scope:
                job = reevaluation.start(platform, member(request), reason)
                self.log_addition(request, job, f"Started: {reason}")
                messages.success(request, f"{job} is under way.")
                return HttpResponseRedirect(reverse("admin:moderation_reevaluation_changelist"))
            context |= {"preview": reevaluation.preview(platform), "scope": scope}
        return TemplateResponse(request, "moderation/reevaluate.html", context)

    @admin.action(description="Cancel the selected re-evaluations", permissions=["operate"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Reevaluation]) -> None:
        """Stop them where they are."""
        cancelled = sum(reevaluation.cancel(job) for job in queryset)
        messages.success(request, f"{cancelled} cancelled. What they changed until now stays.")

    @admin.display(description="posts of", ordering="platform")
    def scope(self, job: Reevaluation) -> str:
        """Say whose posts are judged."""
        return job.platform.name if job.platform else "every platform"

    @admin.display(description="status", ordering="status")
    def state(self, job: Reevaluation) -> SafeString:
        """Return the status in its colour."""
        return label(job.status, job.get_status_display())

    @admin.display(description="judged")
    def bar(self, job: Reevaluation) -> SafeString:
        """Draw how far it is."""
        return progress(job.done, job.total)
