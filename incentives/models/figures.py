"""Sums by day and region, which the dashboard reads instead of a million rows."""

from django.db import models

from mask_social import clock
from moderation.models import Platform


class DailyFigures(models.Model):
    """What became of the posts that were made on a day (UTC) in a region; worked out anew whenever one changes."""

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="daily_figures")
    day = models.DateField()
    region = models.CharField(max_length=6, blank=True)
    posts = models.PositiveIntegerField(default=0)
    faces = models.PositiveIntegerField(default=0)
    masked = models.PositiveIntegerField(default=0)
    unmasked = models.PositiveIntegerField(default=0)
    incorrect = models.PositiveIntegerField(default=0)
    partly_masked = models.PositiveIntegerField(default=0)
    no_face = models.PositiveIntegerField(default=0)
    uncertain = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    withdrawn = models.PositiveIntegerField(default=0)
    counted = models.PositiveIntegerField(default=0)
    # Badges whose deciding post it was, boosts given, posts matched with money that stands.
    badges = models.PositiveIntegerField(default=0)
    boosts = models.PositiveIntegerField(default=0)
    matches = models.PositiveIntegerField(default=0)
    appeals = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        verbose_name_plural = "daily figures"
        indexes = [models.Index(name="figures_by_day", fields=["day", "region"])]
        constraints = [models.UniqueConstraint(name="figures_once", fields=["platform", "day", "region"])]

    def __str__(self) -> str:
        return f"{self.day} {self.region}"


class FiguresMark(models.Model):
    """How far the daily figures have followed what happened; one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    seen_until = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="one_figures_mark", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"figures until {self.seen_until}"
