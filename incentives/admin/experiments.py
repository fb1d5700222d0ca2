"""The experiment that tells whether badges and boosts do anything."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types

from incentives.experiments import lifecycle, panel, tally, upkeep
from incentives.experiments.report import Report, report
from incentives.models import Experiment, ExperimentSums
from mask_social import clock
from moderation.admin_parts import ModelAdmin, label

_LOCKED = ("platform", "holdout_percent")
_START = (
    "From now on, each author whose post gets a verdict takes part. A share of them, drawn by chance, goes without new "
    "badges and boosts; money is matched for everybody. The percentage, the platform and the salt can no longer change."
)
_END = "Nobody goes without any longer. An experiment that has ended cannot be started again; its report stays."
_OFFERED = {Experiment.Status.DRAFT: "start", Experiment.Status.RUNNING: "end", Experiment.Status.ENDED: None}


class ExperimentForm(forms.ModelForm[Experiment]):
    """An experiment as staff may write it down."""

    class Meta:
        model = Experiment
        fields = ("name", "platform", "holdout_percent")
        help_texts = {
            "platform": "empty: the authors of every platform",
            "holdout_percent": "of the authors, who go without badges and boosts; at most 50, two decimals",
        }

    def clean_holdout_percent(self) -> float:
        """Refuse what the assignment cannot tell apart."""
        percent: float = self.cleaned_data["holdout_percent"]
        if percent != round(percent, 2):
            raise ValidationError("Two decimals at most: authors are drawn by hundredths of a percent.")
        return percent


@admin.register(Experiment)
class ExperimentAdmin(ModelAdmin[Experiment]):
    form = ExperimentForm
    list_display = ("name", "whose", "state", "holdout_percent", "lift", "starts_at", "ends_at")
    list_filter = ("status", ("platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("platform", "sums")
    search_fields = ("name", "=id")
    readonly_fields = ("salt", "starts_at", "ends_at")
    actions_detail = ("start", "end", "add_up")
    change_form_outer_before_template = "incentives/experiment_panel.html"

    class Media:
        css = {"all": ("incentives/experiment.css",)}

    def get_fields(self, request: HttpRequest, obj: Experiment | None = None) -> tuple[str, ...]:
        """Return what is asked for; later also what is known."""
        asked = ("name", "platform", "holdout_percent")
        return asked if obj is None else (*asked, *self.readonly_fields)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Experiment | None:
        """Hold the row while a form is saved, so that it cannot be started in between."""
        found = super().get_object(request, object_id, from_field)
        if found is None or request.method != "POST":
            return found
        return Experiment.objects.select_for_update(no_key=True).filter(pk=found.pk).first()

    def get_readonly_fields(self, request: HttpRequest, obj: Experiment | None = None) -> tuple[str, ...]:
        """Keep what decides about the arms, once there are any; the database refuses it too."""
        started = obj is not None and obj.status != Experiment.Status.DRAFT
        return (*self.readonly_fields, *_LOCKED) if started else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        """Refuse to lose the record of an experiment that was started."""
        started = obj is not None and obj.status != Experiment.Status.DRAFT
        return not started and super().has_delete_permission(request, obj)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Offer what the status allows; adding up has its button in the panel."""
        status = Experiment.objects.filter(pk=unquote(object_id)).values_list("status", flat=True).first()
        offered: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's
        name = _OFFERED[Experiment.Status(status)] if status else None
        return [each for each in offered if each.method.original_function_name == name]

    def save_model(
        self, request: HttpRequest, obj: Experiment, form: forms.ModelForm[Experiment], change: bool
    ) -> None:
        """Draw the salt of a new one; of another, write what was changed and nothing else."""
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            obj.salt = lifecycle.new_salt()
            super().save_model(request, obj, form, change)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what it found so far."""
        experiment = Experiment.objects.filter(pk=unquote(object_id)).first()
        context = extra_context or {}
        if (
            experiment is not None
            and experiment.status != Experiment.Status.DRAFT
            and self.has_view_permission(request)
        ):
            sums = upkeep.latest(experiment, clock.now())
            context |= {
                "experiment": experiment,
                "sums": sums,
                "panel": panel.panel(_report(experiment, sums)),
                "may_add_up": self.has_change_permission(request),
                "add_up_url": reverse("admin:incentives_experiment_add_up", args=[object_id]),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    @admin.display(description="for", ordering="platform__name")
    def whose(self, experiment: Experiment) -> str:
        """Say whose authors take part."""
        return experiment.platform.name if experiment.platform else "every platform"

    @admin.display(description="status", ordering="status")
    def state(self, experiment: Experiment) -> str:
        """Return the status in its colour."""
        return label(experiment.status)

    @admin.display(description="lift in masked posts per author")
    def lift(self, experiment: Experiment) -> str:
        """Return the relative lift as it was last added up."""
        sums = getattr(experiment, "sums", None)
        return (panel.relative_lift(_report(experiment, sums)) if sums else "") or "–"

    @action(description="Start", url_path="start", icon="play_arrow", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def start(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Start it, once that is confirmed."""
        return self._confirm(request, object_id, "Start", _START, lifecycle.start)

    @action(description="End", url_path="end", icon="stop", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End it, once that is confirmed."""
        return self._confirm(request, object_id, "End", _END, lifecycle.end)

    @action(description="Add up now", url_path="add-up", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def add_up(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add up what the arms did, without waiting for beat."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        upkeep.add_up(get_object_or_404(Experiment, pk=unquote(object_id)), clock.now())
        return self._back(object_id)

    def _confirm(
        self, request: HttpRequest, object_id: str, verb: str, text: str, act: Callable[[Experiment, datetime], None]
    ) -> HttpResponse:
        experiment = get_object_or_404(Experiment, pk=unquote(object_id))
        if request.method != "POST":
            context = self.admin_site.each_context(request) | {
                "title": f"{verb} {experiment.name}?",
                "opts": self.opts,
                "experiment": experiment,
                "verb": verb,
                "text": text,
            }
            return TemplateResponse(request, "incentives/experiment_confirm.html", context)
        try:
            act(experiment, clock.now())
        except lifecycle.ExperimentError as error:
            messages.error(request, str(error))
        else:
            self.log_change(request, experiment, f"{verb}ed.")
            messages.success(request, f"{experiment.name} is {experiment.status}.")
        return self._back(object_id)

    def _back(self, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:incentives_experiment_change", args=[object_id]))


def _report(experiment: Experiment, sums: ExperimentSums) -> Report:
    return report(experiment, tally.from_json(sums.data))
