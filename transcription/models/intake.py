"""Times in which operators let nothing new in. Only `jobs.intake` writes these rows."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class IntakePause(models.Model):
    """A time in which no recording is taken. The rows stay: they say who did what, and when."""

    reason = models.CharField(max_length=200, blank=True)
    begun_at = models.DateTimeField(default=timezone.now)
    begun_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["-begun_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ended_at=None) | models.Q(ended_at__gte=models.F("begun_at")),
                name="intake_pause_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return f"pause since {self.begun_at}"
