"""Sponsors, their campaigns, and every cent: money promised, paid, and given back."""

from functools import reduce
from operator import or_

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

from incentives.models.ids import new_campaign_id, new_match_id, new_sponsor_id
from mask_social import clock
from moderation.models import Author, IdField, Platform, Post, Verdict
from moderation.time_zones import validate_time_zone


class Sponsor(models.Model):
    """Who pays; its people see its own campaigns and nothing else."""

    id = IdField(default=new_sponsor_id)
    name = models.CharField(max_length=200, unique=True)
    users = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="sponsors", help_text="who may read its campaigns"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Campaign(models.Model):
    """A sponsor's promise: so much for each masked post, up to a budget."""

    class Status(models.TextChoices):
        DRAFT = "draft", "draft"
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"
        EXHAUSTED = "exhausted", "budget spent"
        ENDED = "ended", "ended"

    id = IdField(default=new_campaign_id)
    # None: for the posts of every platform.
    platform = models.ForeignKey(Platform, on_delete=models.PROTECT, null=True, blank=True)
    sponsor = models.ForeignKey(Sponsor, on_delete=models.PROTECT, related_name="campaigns")
    name = models.CharField(max_length=200)
    cause = models.CharField(max_length=200)
    # A platform's own campaigns come before those for everybody; among them the lower number, then the older.
    priority = models.PositiveSmallIntegerField(default=100, help_text="the lower is asked first")
    currency = models.CharField(
        max_length=3, validators=[RegexValidator(r"^[A-Z]{3}$", "Use an ISO 4217 code such as EUR.")]
    )
    budget_minor = models.PositiveBigIntegerField(help_text="in minor units: 100 is one euro")
    # Reserved and settled together: raised under the row's lock, lowered when a match is voided or refunded.
    committed_minor = models.PositiveBigIntegerField(default=0, editable=False)
    amount_minor = models.PositiveIntegerField(
        validators=[MinValueValidator(1)], help_text="given for each masked post, before tiers"
    )
    cap_per_author = models.PositiveIntegerField(
        null=True, blank=True, help_text="posts of one author matched in all; empty: no limit"
    )
    cap_per_author_per_day = models.PositiveIntegerField(
        null=True, blank=True, help_text="posts of one author matched in a day; empty: no limit"
    )
    cap_per_day_minor = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="money in a day, in minor units; empty: no limit"
    )
    cap_per_region_minor = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="money in each region in all, in minor units; empty: no limit"
    )
    regions = ArrayField(
        models.CharField(max_length=6),
        default=list,
        blank=True,
        help_text="ISO 3166 codes that it is for; a country stands for its parts too; empty: everywhere",
    )
    min_account_age_days = models.PositiveIntegerField(
        default=0, help_text="where the platform tells the account's age; 0: any"
    )
    # The appeal window: how long a match stays reserved, so that an overturned verdict can take it back.
    hold_seconds = models.PositiveIntegerField(default=24 * 3600)
    # Its days begin at midnight here, and the window is given in it.
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    starts_at = models.DateTimeField(default=clock.now)
    ends_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DRAFT)
    boosts_enabled = models.BooleanField(default=True, help_text="off: the posts that it matched stand no higher")
    # The number of its last ledger entry; they are numbered without a gap, so that a missing one shows.
    last_entry = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("-id",)
        permissions = [("view_every_campaign", "Can view the campaigns of every sponsor")]
        constraints = [
            models.CheckConstraint(
                name="campaign_never_promises_more_than_its_budget",
                condition=Q(committed_minor__lte=F("budget_minor")),
            ),
            models.CheckConstraint(name="campaign_amount_above_0", condition=Q(amount_minor__gt=0)),
            models.CheckConstraint(name="campaign_currency_iso_4217", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="campaign_ends_after_it_starts",
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(name="campaign_keeps_its_currency", fields=["currency"]),
            pgtrigger.FSM(
                name="campaign_goes_its_way",
                field="status",
                transitions=[
                    ("draft", "active"),
                    ("draft", "ended"),
                    ("active", "paused"),
                    ("active", "exhausted"),
                    ("active", "ended"),
                    ("paused", "active"),
                    ("paused", "exhausted"),
                    ("paused", "ended"),
                    ("exhausted", "active"),  # its budget was raised, or a match gave money back
                    ("exhausted", "paused"),
                    ("exhausted", "ended"),
                ],
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Tier(models.Model):
    """From how much on a campaign gives what share of its amount; without tiers, all of it."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="tiers")
    from_minor = models.PositiveBigIntegerField(default=0, help_text="promised or paid before, in minor units")
    percent = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ("campaign", "from_minor")
        constraints = [
            models.UniqueConstraint(name="tier_once", fields=["campaign", "from_minor"]),
            models.CheckConstraint(name="tier_percent_from_1_to_100", condition=Q(percent__range=(1, 100))),
        ]

    def __str__(self) -> str:
        return f"{self.percent} % from {self.from_minor}"


class Match(models.Model):
    """A sponsor's money promised for one post: reserved, then settled or voided; settled, it may be refunded."""

    class Status(models.TextChoices):
        RESERVED = "reserved", "reserved"
        SETTLED = "settled", "settled"
        VOIDED = "voided", "voided"
        REFUNDED = "refunded", "refunded"

    id = IdField(default=new_match_id)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="matches")
    # The money stays on the books when the author is erased.
    post = models.ForeignKey(Post, on_delete=models.SET_NULL, null=True, related_name="matches")
    author = models.ForeignKey(Author, on_delete=models.SET_NULL, null=True, related_name="matches")
    verdict = models.ForeignKey(Verdict, on_delete=models.SET_NULL, null=True, related_name="matches")
    amount_minor = models.PositiveIntegerField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.RESERVED)
    # The day it was reserved on, in the campaign's time zone, and the post's region: what the caps count.
    day = models.DateField()
    region = models.CharField(max_length=6, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    settle_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "matches"
        ordering = ("-id",)
        indexes = [
            # read by the task that settles
            models.Index(name="match_to_settle", fields=["settle_at"], condition=Q(status="reserved")),
            # read by the caps per author
            models.Index(name="match_by_author_and_day", fields=["campaign", "author", "day"]),
        ]
        constraints = [
            models.UniqueConstraint(
                name="match_once_per_post", fields=["post"], condition=Q(status__in=["reserved", "settled"])
            ),
            models.CheckConstraint(name="match_amount_above_0", condition=Q(amount_minor__gt=0)),
            models.CheckConstraint(
                name="match_settles_after_it_is_reserved", condition=Q(settle_at__gte=F("created_at"))
            ),
        ]
        triggers = [
            pgtrigger.FSM(
                name="match_ends_once",
                field="status",
                transitions=[("reserved", "settled"), ("reserved", "voided"), ("settled", "refunded")],
            ),
            pgtrigger.ReadOnly(
                name="match_keeps_its_terms",
                fields=["campaign", "amount_minor", "created_at", "day", "region", "settle_at"],
            ),
            # Erasure takes them away, and nothing puts others there.
            pgtrigger.Protect(
                name="match_keeps_its_post",
                operation=pgtrigger.Update,
                condition=reduce(
                    or_,
                    (
                        pgtrigger.Q(**{f"new__{name}__isnull": False, f"old__{name}__df": pgtrigger.F(f"new__{name}")})
                        for name in ("post", "author", "verdict")
                    ),
                ),
            ),
            pgtrigger.Protect(name="match_is_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.id


class LedgerEntry(models.Model):
    """One booking; the books are these rows, numbered in each campaign, added and never changed."""

    class Kind(models.TextChoices):
        FUNDED = "funded", "budget given"
        REDUCED = "reduced", "budget taken back"
        RESERVED = "reserved", "reserved"
        SETTLED = "settled", "settled"
        VOIDED = "voided", "voided"
        REFUNDED = "refunded", "refunded"

    class Cause(models.TextChoices):
        VERDICT = "verdict", "a verdict"
        WITHDRAWAL = "withdrawal", "the post was withdrawn"
        WINDOW_OVER = "window_over", "the appeal window is over"
        STAFF = "staff", "staff"

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="entries")
    number = models.PositiveBigIntegerField()
    # None: of the budget, not of a post.
    match = models.ForeignKey(Match, on_delete=models.PROTECT, null=True, blank=True, related_name="entries")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount_minor = models.PositiveBigIntegerField()
    # The day it was booked on, in the campaign's time zone.
    day = models.DateField()
    region = models.CharField(max_length=6, blank=True)
    cause = models.CharField(max_length=16, choices=Cause.choices)
    # The verdict, event or person behind it, and the id that all it set off have in common.
    cause_id = models.CharField(max_length=64, blank=True)
    causation_id = models.CharField(max_length=64, blank=True)
    # Why a budget was changed, in the words of who did it.
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ("id",)
        indexes = [models.Index(name="entry_by_day", fields=["campaign", "day", "region"])]
        constraints = [
            models.UniqueConstraint(name="ledger_number_once", fields=["campaign", "number"]),
            models.UniqueConstraint(name="ledger_step_once", fields=["match", "kind"]),
            models.UniqueConstraint(
                name="ledger_ends_once", fields=["match"], condition=Q(kind__in=["settled", "voided"])
            ),
            models.CheckConstraint(name="ledger_amount_above_0", condition=Q(amount_minor__gt=0)),
            models.CheckConstraint(
                name="ledger_budget_has_no_match",
                condition=Q(kind__in=["funded", "reduced"], match__isnull=True)
                | (~Q(kind__in=["funded", "reduced"]) & Q(match__isnull=False)),
            ),
        ]
        triggers = [pgtrigger.Protect(name="ledger_is_append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_minor}"


class CampaignDay(models.Model):
    """Sums of a campaign's ledger by the day of booking and region: derived, and compared with it every night."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()
    region = models.CharField(max_length=6, blank=True)
    reserved_minor = models.PositiveBigIntegerField(default=0)
    settled_minor = models.PositiveBigIntegerField(default=0)
    voided_minor = models.PositiveBigIntegerField(default=0)
    refunded_minor = models.PositiveBigIntegerField(default=0)
    reserved_count = models.PositiveIntegerField(default=0)
    settled_count = models.PositiveIntegerField(default=0)
    voided_count = models.PositiveIntegerField(default=0)
    refunded_count = models.PositiveIntegerField(default=0)
    # Of the matches reserved on this day, what still stands, whenever the rest was given back: what the caps count.
    standing_minor = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("campaign", "day", "region")
        # the caps per region; those per day are found by the constraint's
        indexes = [models.Index(name="campaign_day_by_region", fields=["campaign", "region"])]
        constraints = [models.UniqueConstraint(name="campaign_day_once", fields=["campaign", "day", "region"])]

    def __str__(self) -> str:
        return f"{self.campaign} on {self.day}"


class LedgerProof(models.Model):
    """That a campaign's books were added up from the first entry, and what was found."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="proofs")
    ran_at = models.DateTimeField(default=clock.now, editable=False)
    entries = models.PositiveBigIntegerField()
    budget_minor = models.PositiveBigIntegerField()
    reserved_minor = models.PositiveBigIntegerField()
    settled_minor = models.PositiveBigIntegerField()
    voided_minor = models.PositiveBigIntegerField()
    refunded_minor = models.PositiveBigIntegerField()
    # Empty: everything agrees.
    problems = ArrayField(models.TextField(), default=list, blank=True)

    class Meta:
        ordering = ("-id",)
        triggers = [pgtrigger.Protect(name="proof_is_never_edited", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"proof of {self.campaign} at {self.ran_at:%Y-%m-%d %H:%M}"
