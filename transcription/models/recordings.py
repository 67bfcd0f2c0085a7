"""Recordings that were accepted. Only `recordings` writes them."""

import uuid

from django.db import models
from django.utils import timezone

from accounts.models import Organization


class MediaQuerySet(models.QuerySet["Media"]):
    """Media, reached through their organization."""

    def of(self, organization: Organization) -> "MediaQuerySet":
        return self.filter(organization=organization)


class Media(models.Model):
    """One accepted recording: probed, stored, belonging to one organization. The bytes lie in storage, not here."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="media")
    # As the customer named it, cleaned for display; never used as a path.
    name = models.CharField(max_length=255)
    storage_key = models.CharField(max_length=200, unique=True)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    duration_ms = models.BigIntegerField()
    # As the probe counted them; those of a recording that is transcribed channel by channel are billed each.
    channels = models.PositiveSmallIntegerField(default=1)
    container = models.CharField(max_length=40)
    codec = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now)

    objects = MediaQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["organization", "-created_at"], name="media_list")]
        constraints = [
            models.CheckConstraint(condition=models.Q(duration_ms__gt=0), name="media_has_duration"),
            models.CheckConstraint(condition=models.Q(channels__gt=0), name="media_has_a_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"
