"""How the staff sign in: what was tried, and the second thing that they have."""

from django.contrib.auth.models import User
from django.db import models

from mask_social import clock


class SignInTally(models.Model):
    """How often signing in was tried in vain, for one account or address; gone when it succeeds, or after a day."""

    # A kind and a keyed hash: what people type as their name may be a password.
    subject = models.CharField(max_length=100, primary_key=True)
    tries = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(default=clock.now)
    locked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        # what is forgotten
        indexes = [models.Index(name="tally_by_last_at", fields=["last_at"])]

    def __str__(self) -> str:
        return self.subject


class SecondFactor(models.Model):
    """The app that makes a person's codes (RFC 6238)."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor")
    secret_cipher = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=clock.now)
    # Of the last code that was taken: it and those before are refused.
    last_step = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"of {self.user}"


class RecoveryCode(models.Model):
    """A code that opens the door once, where the app is lost."""

    factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="recovery_code_once", fields=["factor", "digest"]),
        ]

    def __str__(self) -> str:
        return f"{self.factor}, {'used' if self.used_at else 'unused'}"
