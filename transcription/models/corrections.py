"""What people corrected in results. The stored results stay as they were. Only `jobs.editing` writes these rows."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from transcription.models.jobs import JobItem


class SegmentRevision(models.Model):
    """What one segment of a result is from a moment on: its text and its speaker. Gone with its job.

    Revisions of a segment count up from 1, and the newest one holds. Each is written whole and never changed, so the
    history of a segment is its rows, and its original is in the result.
    """

    item = models.ForeignKey(JobItem, on_delete=models.CASCADE, related_name="segment_revisions", db_index=False)
    # Of the segment in the stored result, from 0.
    segment = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    # Empty: the segment is left out.
    text = models.TextField(blank=True)
    # The id; empty for none.
    speaker = models.CharField(max_length=40, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["segment", "number"]
        constraints = [
            # Of two people who save the same stretch at once, one is refused. Its index also finds the rows of an item.
            models.UniqueConstraint(fields=["item", "segment", "number"], name="one_revision_per_number"),
            models.CheckConstraint(condition=models.Q(number__gte=1), name="revisions_count_from_one"),
        ]

    def __str__(self) -> str:
        return f"revision {self.number} of segment {self.segment} of item {self.item_id}"


class SpeakerName(models.Model):
    """What people call a speaker of a result, or into which other speaker this one was merged. Gone with its job."""

    item = models.ForeignKey(JobItem, on_delete=models.CASCADE, related_name="speaker_names", db_index=False)
    # The id in the result, such as "S1", or one that `jobs.editing` gave to a new speaker.
    speaker = models.CharField(max_length=40)
    # Empty: the usual label.
    name = models.CharField(max_length=80, blank=True)
    # The id of the speaker whose the words are. Empty: they are this speaker's own.
    merged_into = models.CharField(max_length=40, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "speaker"], name="one_name_per_speaker"),
            models.CheckConstraint(
                condition=~models.Q(merged_into=models.F("speaker")), name="speaker_is_not_merged_into_itself"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.speaker} of item {self.item_id}"
