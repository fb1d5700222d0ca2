"""What staff fill in to decide."""

from typing import Any, cast

from django import forms
from django.http import QueryDict
from unfold.widgets import (  # type: ignore[import-untyped]  # unfold ships no types
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from moderation import reviews
from moderation.models import Appeal, Platform

MAX_WORDS = 2000
_CHOOSE = ("", "Choose …")


class OverruleForm(forms.Form):
    """Another verdict, and why; `seen` is the one that was on the page."""

    outcome = forms.ChoiceField(label="Verdict", choices=[_CHOOSE, *reviews.DECISIONS], widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(
        max_length=MAX_WORDS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept with the verdict, for staff.",
    )
    seen = forms.CharField(widget=forms.HiddenInput)


class AppealForm(forms.Form):
    """What becomes of an appeal: upheld with the right verdict, or dismissed."""

    UPHOLD, DISMISS = DECISIONS = ("uphold", "dismiss")

    decision = forms.ChoiceField(choices=[(name, name) for name in DECISIONS], widget=forms.HiddenInput)
    outcome = forms.ChoiceField(
        label="The right verdict",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="To uphold the appeal.",
    )
    answer = forms.CharField(
        max_length=MAX_WORDS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="The author reads this.",
    )

    def __init__(self, appeal: Appeal, data: QueryDict | None = None) -> None:
        super().__init__(data)
        others = [choice for choice in reviews.DECISIONS if choice[0] != appeal.against.outcome]
        cast(forms.ChoiceField, self.fields["outcome"]).choices = [_CHOOSE, *others]

    def clean(self) -> dict[str, Any]:
        """Ask for the right verdict where the other one was wrong."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("decision") == self.UPHOLD and not cleaned.get("outcome") and "outcome" not in self.errors:
            self.add_error("outcome", "Choose the verdict that is right.")
        return cleaned


class ReevaluationForm(forms.Form):
    """Whose posts are judged anew, and why."""

    platform = forms.ModelChoiceField(
        Platform.objects.all(), required=False, empty_label="every platform", widget=UnfoldAdminSelectWidget
    )
    reason = forms.CharField(
        max_length=MAX_WORDS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept with each verdict that changes.",
    )
