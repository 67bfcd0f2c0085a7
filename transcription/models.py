"""Media, jobs with their items, and answers about them. `media`, `jobs` and `answers` write them; nobody else does."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import ApiKey, Organization


class MediaQuerySet(models.QuerySet["Media"]):
    """Media, reached through their organization."""

    def of(self, organization: Organization) -> "MediaQuerySet":
        return self.filter(organization=organization, deleted_at__isnull=True)


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
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = MediaQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["organization", "-created_at"], name="media_list")]
        constraints = [
            models.CheckConstraint(condition=models.Q(duration_ms__gt=0), name="media_has_duration"),
            models.CheckConstraint(condition=models.Q(channels__gt=0), name="media_has_a_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class Status(models.TextChoices):
    """States of a job, and of an item (which uses queued, processing, completed, failed, canceled)."""

    UPLOADING = "uploading", "Uploading"
    VERIFYING = "verifying", "Verifying"
    QUEUED = "queued", "Queued"
    PROCESSING = "processing", "Processing"
    COMPLETED = "completed", "Completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with errors"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


FINAL_STATUSES = (Status.COMPLETED, Status.COMPLETED_WITH_ERRORS, Status.FAILED, Status.CANCELED)


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, reached through their organization."""

    def of(self, organization: Organization) -> "JobQuerySet":
        return self.filter(organization=organization)

    def newest_first(self) -> "JobQuerySet":
        return self.order_by("-created_at", "-id")


class Job(models.Model):
    """One order: to transcribe one or more media with the same options, at one price, promised by one hold."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="jobs")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    # The face that it came through, whose words the answers and webhooks use; "pages" for the dashboard.
    dialect = models.CharField(max_length=20)
    kind = models.CharField(max_length=20, default="transcribe")
    model = models.CharField(max_length=60)
    name = models.CharField(max_length=255)
    options = models.JSONField()
    status = models.CharField(max_length=24, choices=Status.choices, default=Status.QUEUED)
    # 0 to 100.
    progress = models.PositiveSmallIntegerField(default=0)
    duration_ms = models.BigIntegerField()
    # The price that was quoted, per hour; what that promised at submission; what was charged, null until something was.
    rate_micros = models.BigIntegerField()
    quoted_micros = models.BigIntegerField()
    cost_micros = models.BigIntegerField(null=True, blank=True)
    error_type = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="job_list"),
            models.Index(fields=["organization", "status", "-created_at"], name="job_list_by_status"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=Status.values), name="job_status_is_known"),
            models.CheckConstraint(condition=models.Q(progress__lte=100), name="job_progress_is_a_percentage"),
            models.CheckConstraint(
                condition=models.Q(cost_micros__isnull=True) | ~models.Q(status__in=["failed", "canceled"]),
                name="failed_job_costs_nothing",
            ),
            models.CheckConstraint(
                condition=models.Q(finished_at__isnull=False)
                | ~models.Q(status__in=[str(status) for status in FINAL_STATUSES]),
                name="final_job_has_finished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def is_completed(self) -> bool:
        return self.status in {Status.COMPLETED, Status.COMPLETED_WITH_ERRORS}

    @property
    def hold_reference(self) -> str:
        """The name of this job's promise and of its charge in the ledger."""
        return f"job:{self.id}"


class JobItem(models.Model):
    """One recording of a job: the unit of work. A worker owns it by `attempt`, which every write names."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField(default=0)
    media = models.ForeignKey(Media, on_delete=models.PROTECT, related_name="items")
    status = models.CharField(max_length=24, choices=Status.choices, default=Status.QUEUED)
    # How often it was claimed. Claims count up; a write with an older number is a ghost's and changes nothing.
    attempt = models.PositiveSmallIntegerField(default=0)
    # Last sign of life of the worker that owns it, or the moment it was queued.
    touched_at = models.DateTimeField(default=timezone.now)
    progress = models.PositiveSmallIntegerField(default=0)
    duration_ms = models.BigIntegerField(null=True, blank=True)
    language = models.CharField(max_length=16, blank=True)
    engine = models.CharField(max_length=60, blank=True)
    result_key = models.CharField(max_length=200, blank=True)
    error_type = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["job", "position"], name="one_item_per_position"),
            models.CheckConstraint(
                condition=~models.Q(status="completed") | ~models.Q(result_key=""), name="completed_item_has_result"
            ),
        ]
        indexes = [
            # The clock asks every few seconds for work that nobody does.
            models.Index(
                fields=["touched_at"],
                condition=models.Q(status__in=["queued", "processing"]),
                name="unfinished_items_by_age",
            )
        ]

    def __str__(self) -> str:
        return f"item {self.position} of {self.job_id}"


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
