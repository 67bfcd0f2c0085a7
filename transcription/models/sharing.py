"""Links by which people without an account read a transcript. Only `jobs.sharing` writes these rows."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from transcription.models.jobs import JobItem


class ShareLink(models.Model):
    """A link to the transcript of one recording. Deleted when it is revoked, and gone with its job.

    The link itself is known to whoever made it, and stored nowhere.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    item = models.ForeignKey(JobItem, on_delete=models.CASCADE, related_name="share_links")
    token_sha256 = models.CharField(max_length=64, unique=True)
    # Whether the recording is heard by it too.
    has_audio = models.BooleanField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("created_at")), name="share_link_ends_after_it_begins"
            ),
        ]

    def __str__(self) -> str:
        return f"link {self.id} to item {self.item_id}"
