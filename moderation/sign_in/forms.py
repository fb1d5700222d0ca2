"""What is asked at the door."""

from typing import Any

from django import forms
from django.contrib.auth.models import User
from unfold.widgets import (  # type: ignore[import-untyped]  # unfold ships no types
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)


class CodeField(forms.CharField):
    """A code out of an app."""

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"autocomplete": "one-time-code", "autofocus": "", "spellcheck": "false", "autocapitalize": "off"}
        super().__init__(max_length=20, widget=UnfoldAdminTextInputWidget(attrs=attributes), **kwargs)


class CodeForm(forms.Form):
    """The second thing that the door asks for."""

    code = CodeField(label="Code", help_text="Six digits from your app, or one of your recovery codes.")


class ProofForm(forms.Form):
    """A code, and the password once more: a session that was left open is not enough to change the lock."""

    password = forms.CharField(
        strip=False, widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"})
    )
    code = CodeField(label="Code", help_text="Six digits from your app.")

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user

    def clean_password(self) -> str:
        """Compare it."""
        password: str = self.cleaned_data["password"]
        if not self._user.check_password(password):
            raise forms.ValidationError("That is not your password.")
        return password
