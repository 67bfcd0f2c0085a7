"""What language models said of transcripts. Only `answers` writes them."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from transcription.models.jobs import Job


class Answer(models.Model):
    """What a language model said of a job's transcript: a summary, or the answer to a question. Gone with its job.

    Written by `answers` only, after it was charged.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="answers", db_index=False)
    # The wish that it fulfils: a form that is sent twice carries the same one.
    token = models.UUIDField()
    # Empty for a summary.
    question = models.TextField(blank=True)
    text = models.TextField(blank=True)
    # It had more to say than it was allowed.
    is_cut = models.BooleanField(default=False)
    # Where in the recording the model stopped reading, null if it read all.
    read_until_ms = models.BigIntegerField(null=True)
    charged_micros = models.BigIntegerField()
    # Read and written together, null if that was not stated.
    tokens = models.PositiveIntegerField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["job", "token"], name="one_answer_per_wish"),
            models.CheckConstraint(condition=models.Q(charged_micros__gte=0), name="answer_costs_nothing_or_more"),
        ]

    def __str__(self) -> str:
        return f"{self.question[:40] or 'Summary'} ({self.id})"
