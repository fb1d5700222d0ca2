"""Where each public thing of a badge is found."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Addresses:
    """Absolute addresses below the one that this service is known by."""

    base: str

    @classmethod
    def of(cls, request: HttpRequest) -> "Addresses":
        """Go by MASK_SOCIAL_PUBLIC_URL, or by the host that was asked."""
        return cls(settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}")

    @classmethod
    def known(cls) -> "Addresses":
        """Go by MASK_SOCIAL_PUBLIC_URL; without it, these are paths below wherever the service was found."""
        return cls(settings.PUBLIC_URL)

    @property
    def home(self) -> str:
        """The service itself."""
        return f"{self.base}/"

    @property
    def issuer(self) -> str:
        """Who signs: the id of the issuer, where its profile and its keys are."""
        return self._at("badge-issuer")

    @property
    def keys(self) -> str:
        """What each key's address begins with; its thumbprint follows."""
        return self._at("badge-key", "-")[:-1]

    @property
    def key_set(self) -> str:
        """All public keys."""
        return self._at("badge-keys")

    def page(self, public_id: str) -> str:
        """The page of an award, for people."""
        return self._at("badge-page", public_id)

    def credential(self, public_id: str) -> str:
        """The signed credential of an award."""
        return self._at("badge-credential", public_id)

    def image(self, public_id: str) -> str:
        """The picture of an award, its credential baked in."""
        return self._at("badge-image", public_id)

    def rule(self, code: str) -> str:
        """What a badge stands for."""
        return self._at("badge-rule", code)

    def rule_image(self, code: str) -> str:
        """The picture of a badge, whoever holds it."""
        return self._at("badge-rule-image", code)

    def status_list(self, purpose: str, number: int) -> str:
        """One status list."""
        return self._at("badge-status", purpose, number)

    def _at(self, name: str, *args: str | int) -> str:
        return self.base + reverse(name, args=args)
