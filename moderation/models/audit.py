"""What the staff did, in a chain that shows when a link is missing or changed."""

import pgtrigger
from django.db import models
from django.db.models import Q

from mask_social import clock


class AuditEntry(models.Model):
    """One thing that somebody did; added, never changed. Each holds the hash of the one before."""

    number = models.PositiveBigIntegerField(primary_key=True)
    created_at = models.DateTimeField(default=clock.now)
    # In words, not by key: an account that is deleted leaves its deeds behind.
    actor = models.CharField(max_length=150)
    # Empty: a command, or the service itself.
    address = models.GenericIPAddressField(null=True, blank=True)
    action = models.CharField(max_length=40)
    object_type = models.CharField(max_length=60, blank=True)
    object_id = models.CharField(max_length=128, blank=True)
    object_name = models.CharField(max_length=200, blank=True)
    # Names of fields with what they were and became, or whatever else there is to tell.
    details = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ("-number",)
        indexes = [
            # the history of one thing, and of one person
            models.Index(name="audit_by_object", fields=["object_type", "object_id", "-number"]),
            models.Index(name="audit_by_actor", fields=["actor", "-number"]),
        ]
        constraints = [
            models.CheckConstraint(name="audit_number_from_1", condition=Q(number__gte=1)),
            models.CheckConstraint(
                name="audit_chain_begins_once",
                condition=Q(number=1, previous_hash="") | (Q(number__gt=1) & ~Q(previous_hash="")),
            ),
        ]
        triggers = [pgtrigger.Protect(name="audit_is_never_edited", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.number}: {self.action} by {self.actor}"
