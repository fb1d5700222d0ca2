"""How faces become a verdict."""

import pgtrigger
from django.db import models
from django.db.models import F, Q

from mask_social import clock
from moderation.models.platforms import Platform


class Policy(models.Model):
    """How faces become a verdict; a version is never edited, a new one is added."""

    class Rule(models.TextChoices):
        ALL = "all", "every face that counts wears a mask"
        ANY = "any", "at least one does"
        MAJORITY = "majority", "more than half do"

    # None: for every platform without a policy of its own.
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, null=True, blank=True, related_name="policies")
    version = models.PositiveIntegerField()
    rule = models.CharField(max_length=16, choices=Rule.choices, default=Rule.ALL)
    # Below this a find may be an elbow or a coat: it neither earns nor costs a verdict. Both chosen on training scenes.
    min_face_score = models.FloatField(default=0.85)
    # A face counts when its short side is at least this share of the largest face's.
    min_face_ratio = models.FloatField(default=0.4)
    # Masked is worth money: on held-out training faces 0.8 lets one badly worn mask in forty pass, 0.7 one in fifteen.
    # From `sure` up a face is in the state; below `likely` it is not; between them it is uncertain.
    mask_sure = models.FloatField(default=0.8)
    mask_likely = models.FloatField(default=0.3)
    no_mask_sure = models.FloatField(default=0.6)
    no_mask_likely = models.FloatField(default=0.3)
    incorrect_sure = models.FloatField(default=0.6)
    incorrect_likely = models.FloatField(default=0.3)
    occluded_sure = models.FloatField(default=0.6)
    occluded_likely = models.FloatField(default=0.3)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ("-version",)
        constraints = [
            models.UniqueConstraint(name="policy_version_once", fields=["platform", "version"], nulls_distinct=False),
            models.CheckConstraint(
                name="policy_thresholds_in_order",
                condition=Q(
                    *(
                        Q(
                            **{
                                f"{state}_likely__gte": 0,
                                f"{state}_likely__lte": F(f"{state}_sure"),
                                f"{state}_sure__lte": 1,
                            }
                        )
                        for state in ("mask", "no_mask", "incorrect", "occluded")
                    )
                ),
            ),
            models.CheckConstraint(
                name="policy_shares_between_0_and_1",
                condition=Q(min_face_ratio__range=(0, 1), min_face_score__range=(0, 1)),
            ),
        ]
        triggers = [pgtrigger.Protect(name="policy_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"policy {self.version}" + (f" of {self.platform}" if self.platform else "")
