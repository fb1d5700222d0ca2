"""Boosts: leases on a factor in the feed, and the terms they are given on."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from incentives.models.campaigns import Campaign
from mask_social import clock
from moderation.models import Platform, Post, Verdict


class BoostPolicy(models.Model):
    """The terms of new boosts and of ranking, and the switch that ends all boosting at once."""

    # None: for every platform without a row of its own; its switch is everybody's.
    platform = models.OneToOneField(
        Platform, on_delete=models.CASCADE, null=True, blank=True, related_name="boost_policy"
    )
    is_enabled = models.BooleanField(default=True, help_text="off: no post stands higher, from this moment on")
    factor = models.FloatField(default=1.5, validators=[MinValueValidator(1)])
    cap = models.FloatField(default=3.0, validators=[MinValueValidator(1), MaxValueValidator(10)])
    half_life_seconds = models.PositiveIntegerField(default=6 * 3600, validators=[MinValueValidator(60)])
    # After four half-lives 3 % are left of a factor of 1.5: too little to reorder anything, so it ends there.
    duration_seconds = models.PositiveIntegerField(default=24 * 3600, validators=[MinValueValidator(60)])
    author_diversity = models.FloatField(
        default=0.85,
        validators=[MinValueValidator(0.1), MaxValueValidator(1)],
        help_text="each further post of an author in a ranking is multiplied by this once more; 1: no difference",
    )
    diversity_floor = models.FloatField(default=0.4, validators=[MinValueValidator(0.1), MaxValueValidator(1)])
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "boost policies"
        constraints = [
            models.UniqueConstraint(name="boost_policy_once", fields=["platform"], nulls_distinct=False),
            models.CheckConstraint(
                name="boost_policy_is_bounded",
                condition=Q(
                    factor__gte=1,
                    factor__lte=F("cap"),
                    cap__lte=10,
                    half_life_seconds__gte=60,
                    duration_seconds__gte=60,
                    author_diversity__range=(0.1, 1),
                    diversity_floor__range=(0.1, 1),
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"boost policy of {self.platform}" if self.platform else "boost policy for everybody"


class Boost(models.Model):
    """A lease on a factor in the feed, which fades by half every half-life."""

    verdict = models.OneToOneField(Verdict, on_delete=models.CASCADE, primary_key=True, related_name="boost")
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="boosts")
    # The campaign that matched the post, if any: its switch ends the boost.
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, null=True, blank=True, related_name="boosts")
    factor = models.FloatField()
    half_life_seconds = models.PositiveIntegerField()
    cap = models.FloatField()
    starts_at = models.DateTimeField(default=clock.now)
    ends_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            # the boosts of this moment
            models.Index(name="boost_live", fields=["ends_at"], condition=Q(revoked_at__isnull=True)),
        ]
        constraints = [
            models.UniqueConstraint(name="boost_once_per_post", fields=["post"], condition=Q(revoked_at__isnull=True)),
            models.CheckConstraint(name="boost_factor_from_1_to_cap", condition=Q(factor__gte=1, factor__lte=F("cap"))),
            models.CheckConstraint(
                name="boost_ends_after_it_starts",
                condition=Q(ends_at__gt=F("starts_at"), half_life_seconds__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"×{self.factor} for {self.post_id}"
