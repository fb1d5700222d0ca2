"""That a verdict was, or is yet to be, turned into rewards."""

from django.db import models
from django.db.models import Q

from mask_social import clock
from moderation.models import Post, Verdict


class PendingChange(models.Model):
    """A verdict or a withdrawal whose rewards are yet to be worked out; written with it, deleted when that is done."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="pending_changes")
    # None: the post was withdrawn.
    verdict = models.OneToOneField(
        Verdict, on_delete=models.CASCADE, null=True, blank=True, related_name="pending_change"
    )
    causation_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(name="one_pending_withdrawal", fields=["post"], condition=Q(verdict__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"to do for {self.post_id}"


class RewardApplication(models.Model):
    """That a verdict was turned into rewards: its key makes the second try a no-op."""

    class Reason(models.TextChoices):
        """Why a post was given money, or none."""

        MATCHED = "matched", "A sponsor gives masks for this post."
        NOT_MASKED = "not_masked", "Only posts on which every mask is on are matched."
        WITHDRAWN = "withdrawn", "The post was withdrawn."
        NEAR_DUPLICATE = "near_duplicate", "This photo, or one much like it, was posted before."
        COOLDOWN = "cooldown", "It came too soon after the author's last post that counted."
        DAILY_LIMIT = "daily_limit", "The author's posts of this day have counted already."
        ACCOUNT_TOO_YOUNG = "account_too_young", "The account is too young."
        NO_CAMPAIGN = "no_campaign", "No sponsor gives at this time."
        NOT_ELIGIBLE = "not_eligible", "No campaign that gives now is for this region or account."
        BUDGET_SPENT = "budget_spent", "The sponsors' budgets are spent."
        AUTHOR_CAP = "author_cap", "The sponsors' limit for one author is reached."
        DAY_CAP = "day_cap", "The sponsors' limit for today is reached."
        REGION_CAP = "region_cap", "The sponsors' limit for this region is reached."
        SUPERSEDED = "superseded", "A later verdict replaced this one before it was applied."

    verdict = models.OneToOneField(
        Verdict, on_delete=models.CASCADE, primary_key=True, related_name="reward_application"
    )
    # What the author is told about the money at the moment of the verdict.
    donation_reason = models.CharField(max_length=20, choices=Reason.choices, blank=True)
    applied_at = models.DateTimeField(default=clock.now, editable=False)

    def __str__(self) -> str:
        return f"rewards of {self.verdict_id}"
