"""Jobs and their items. Only the package `jobs` writes them."""

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts import tracing
from accounts.models import ApiKey, Organization
from transcription.models.recordings import Media, Upload


class Status(models.TextChoices):
    """States of a job, and of an item (which is never completed_with_errors)."""

    UPLOADING = "uploading", "Uploading"
    VERIFYING = "verifying", "Verifying"
    QUEUED = "queued", "Queued"
    PROCESSING = "processing", "Processing"
    COMPLETED = "completed", "Completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with errors"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


FINAL_STATUSES = (Status.COMPLETED, Status.COMPLETED_WITH_ERRORS, Status.FAILED, Status.CANCELED)


class Priority(models.TextChoices):
    """Which queue the items of a job wait in. Workers empty the queues in this order."""

    # Somebody watches a page or waits for the answer.
    INTERACTIVE = "interactive", "Interactive"
    STANDARD = "standard", "Standard"
    # Thousands of recordings at once, which must not hold up single ones.
    BULK = "bulk", "Bulk"


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, reached through their organization."""

    def of(self, organization: Organization) -> "JobQuerySet":
        return self.filter(organization=organization)

    def seen_by(self, organization: Organization, *, api_key: ApiKey | None) -> "JobQuerySet":
        """Return the jobs that a caller may know of: of a token its own, else those of the organization."""
        jobs = self.of(organization)
        return jobs.filter(api_key=api_key) if api_key is not None and api_key.is_token else jobs

    def with_callers(self) -> "JobQuerySet":
        """Read the keys of the jobs beside them, by one more query, so that `token_id` asks nothing for each job."""
        return self.prefetch_related("api_key")

    def newest_first(self) -> "JobQuerySet":
        return self.order_by("-created_at", "-id")

    def page(self, *, offset: int, limit: int) -> "JobQuerySet":
        """Return one page of `newest_first`. Whole rows are read of the page only, and not of what it skips."""
        newest = self.newest_first()
        if offset == 0:
            return newest[:limit]
        return Job.objects.filter(pk__in=newest.values("pk")[offset : offset + limit]).newest_first()

    def older_than(self, *, created_at: datetime, job_id: uuid.UUID) -> "JobQuerySet":
        """Return the jobs that follow a place in the order of `newest_first`, whether or not a job is there."""
        # The first condition alone is one that the index `job_list` can begin at.
        return self.filter(created_at__lte=created_at).filter(Q(created_at__lt=created_at) | Q(id__lt=job_id))


class Job(models.Model):
    """A request to transcribe one or more recordings with the same options. One hold promises the price of all.

    The counters of items change by UPDATE in the transaction that ends an item, so that the end of a job needs no look
    at all its items: a batch of 10,000 ends in linear work.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="jobs")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    # The face that it came through, whose words the answers and webhooks use; "pages" for the dashboard.
    dialect = models.CharField(max_length=20)
    # What the caller named: it decides the price and stands in answers and statements.
    model = models.CharField(max_length=60)
    # Our model that does the recognition. A change of the settings applies to later jobs only. Empty: the same name.
    # The database has a default, so that processes of the version before may insert rows.
    underlying_model = models.CharField(max_length=60, blank=True, default="", db_default="")
    name = models.CharField(max_length=255)
    options = models.JSONField()
    # Pairs of texts that the customer sent, and gets back with the job. The database has defaults for this and the
    # next columns, so that processes of the version before may insert rows.
    metadata = models.JSONField(default=dict, db_default=models.Value({}, output_field=models.JSONField()), blank=True)
    # What the dialect keeps for its later answers, such as the fields that the caller does not want to see. Only the
    # dialect reads it.
    answer_options = models.JSONField(
        default=dict, db_default=models.Value({}, output_field=models.JSONField()), blank=True
    )
    # What `jobs.retention` reads and writes: one of the two choices or none, and when the clock deletes the job.
    deletes_after_retrieval = models.BooleanField(default=False, db_default=False)
    retention_days = models.PositiveSmallIntegerField(null=True, blank=True)
    delete_at = models.DateTimeField(null=True, blank=True)
    # The webhook of this job alone: its URL, and a header that its receiver asks for. The value is encrypted.
    webhook_url = models.CharField(max_length=2000, blank=True, default="", db_default="")
    webhook_header_name = models.CharField(max_length=100, blank=True, default="", db_default="")
    webhook_header_value = models.TextField(blank=True, default="", db_default="")
    # Whether its receiver never accepted it, once the log of webhooks does not say so any more (`webhooks.delivery`).
    webhook_was_lost = models.BooleanField(default=False, db_default=False)
    status = models.CharField(max_length=24, choices=Status.choices, default=Status.QUEUED)
    priority = models.CharField(max_length=12, choices=Priority.choices, default=Priority.STANDARD)
    item_count = models.PositiveIntegerField(default=1)
    # Items that have not ended yet, and those that failed.
    items_left = models.PositiveIntegerField(default=1)
    items_failed = models.PositiveIntegerField(default=0)
    # Items whose recording is not known yet. The job is priced and held once there are none.
    items_unverified = models.PositiveIntegerField(default=0)
    # 0 to 100.
    progress = models.PositiveSmallIntegerField(default=0)
    duration_ms = models.BigIntegerField()
    # The price that was quoted, per hour; what that promised at submission; what was charged, null until something was.
    rate_micros = models.BigIntegerField()
    # Null while the job has no hold: its recordings are not known yet.
    quoted_micros = models.BigIntegerField(null=True, blank=True)
    cost_micros = models.BigIntegerField(null=True, blank=True)
    error_type = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    # What the recordings that are known have together. The database has a default, as above.
    received_bytes = models.BigIntegerField(default=0, db_default=0)
    # When the customer said that all files have been sent. Null: not said, or nothing was to be sent.
    uploads_completed_at = models.DateTimeField(null=True, blank=True)
    # The trace of the request that ordered it, as W3C's traceparent, which work and webhooks join. Empty without one.
    trace_context = models.CharField(max_length=55, blank=True, default=tracing.context, db_default="", editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="job_list"),
            models.Index(fields=["organization", "status", "-created_at"], name="job_list_by_status"),
            # For operators, who see the jobs of all.
            models.Index(fields=["-created_at", "-id"], name="jobs_of_all"),
            models.Index(
                fields=["delete_at"], condition=models.Q(delete_at__isnull=False), name="jobs_by_end_of_retention"
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=Status.values), name="job_status_is_known"),
            models.CheckConstraint(
                condition=models.Q(deletes_after_retrieval=False) | models.Q(retention_days__isnull=True),
                name="job_has_one_retention",
            ),
            models.CheckConstraint(
                condition=models.Q(delete_at__isnull=True)
                | models.Q(status__in=[str(status) for status in FINAL_STATUSES]),
                name="job_ends_before_it_falls_due",
            ),
            models.CheckConstraint(condition=models.Q(progress__lte=100), name="job_progress_is_a_percentage"),
            models.CheckConstraint(
                condition=models.Q(items_left__lte=models.F("item_count") - models.F("items_failed")),
                name="job_items_add_up",
            ),
            models.CheckConstraint(
                condition=models.Q(quoted_micros__isnull=False)
                | models.Q(status__in=["uploading", "verifying", "failed", "canceled"]),
                name="job_is_priced_before_it_is_queued",
            ),
            models.CheckConstraint(
                condition=models.Q(items_left=0) | ~models.Q(status__in=[str(status) for status in FINAL_STATUSES]),
                name="final_job_has_no_items_left",
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
    def token_id(self) -> uuid.UUID | None:
        """The token that ordered it. None for a key, a person, and once the token is deleted."""
        return self.api_key_id if self.api_key is not None and self.api_key.is_token else None

    @property
    def recognising_model(self) -> str:
        """Our model that does the recognition."""
        return self.underlying_model or self.model

    @property
    def hold_reference(self) -> str:
        """The name of this job's promise and of its charge in the ledger."""
        return f"job:{self.id}"


class JobItem(models.Model):
    """One recording of a job: the unit of work. A worker owns it by `attempt`, which every write names."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField(default=0)
    # Null until the upload below has come and was probed.
    media = models.ForeignKey(Media, on_delete=models.PROTECT, null=True, blank=True, related_name="items")
    upload = models.ForeignKey(Upload, on_delete=models.SET_NULL, null=True, blank=True, related_name="items")
    # What the customer calls it in their own system, and the language that was asked for it alone: a code, or a word
    # for detection. Empty for none. The database has defaults, so that processes of the version before may insert rows.
    reference = models.CharField(max_length=255, blank=True, default="", db_default="")
    requested_language = models.CharField(max_length=16, blank=True, default="", db_default="")
    status = models.CharField(max_length=24, choices=Status.choices, default=Status.QUEUED)
    # How often it was claimed. Claims count up; a write with an older number is a ghost's and changes nothing. Before
    # that, how often somebody tried to find out its recording.
    attempt = models.PositiveSmallIntegerField(default=0)
    # Last heartbeat of the worker that owns it, or the moment it was queued.
    touched_at = models.DateTimeField(default=timezone.now)
    progress = models.PositiveSmallIntegerField(default=0)
    # How much of the text has left while the item ran: up to which position of the recording, and its price. Both only
    # grow, through all attempts. The database has defaults, so that processes of the version before may insert rows.
    shown_ms = models.BigIntegerField(default=0, db_default=0)
    shown_micros = models.BigIntegerField(default=0, db_default=0)
    # The length that is billed and the item's part of the job's price, once it has ended. Charged with the job, as one
    # entry. Of a canceled item, and of one that failed by its sender's doing, that is what was shown.
    duration_ms = models.BigIntegerField(null=True, blank=True)
    cost_micros = models.BigIntegerField(null=True, blank=True)
    language = models.CharField(max_length=16, blank=True)
    engine = models.CharField(max_length=60, blank=True)
    result_key = models.CharField(max_length=200, blank=True)
    error_type = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    # When a person first corrected its result: since then there may be rows of `models.corrections`.
    corrected_at = models.DateTimeField(null=True, blank=True)
    # When its result was first given away, of jobs that are deleted after that (`jobs.retention`).
    retrieved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["job", "position"], name="one_item_per_position"),
            models.UniqueConstraint(
                fields=["job", "reference"], condition=~models.Q(reference=""), name="one_item_per_reference"
            ),
            models.CheckConstraint(
                condition=~models.Q(status="completed") | ~models.Q(result_key=""), name="completed_item_has_result"
            ),
            models.CheckConstraint(
                condition=models.Q(media__isnull=False)
                | models.Q(status__in=["uploading", "verifying", "failed", "canceled"]),
                name="item_has_media_before_it_is_queued",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="completed") | models.Q(cost_micros__isnull=False),
                name="completed_item_has_a_cost",
            ),
            models.CheckConstraint(
                condition=models.Q(shown_ms__gte=0) & models.Q(shown_micros__gte=0), name="shown_text_is_not_negative"
            ),
            # A comparison with null would pass, so each side names it. Items of older versions have no cost.
            models.CheckConstraint(
                condition=~models.Q(status="canceled")
                | models.Q(cost_micros__isnull=False, cost_micros=models.F("shown_micros"))
                | models.Q(cost_micros__isnull=True, shown_micros=0),
                name="canceled_item_costs_what_was_shown",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="failed")
                | models.Q(cost_micros__isnull=True)
                | models.Q(cost_micros__isnull=False, cost_micros=models.F("shown_micros")),
                name="failed_item_costs_nothing_or_what_was_shown",
            ),
        ]
        indexes = [
            # The clock asks every few seconds for work that nobody does.
            models.Index(
                fields=["touched_at"],
                condition=models.Q(status__in=["uploading", "verifying", "queued", "processing"]),
                name="unfinished_items_by_age",
            ),
            # `jobs.audit` asks for what was shown of items that did not complete. They are few.
            models.Index(
                fields=["job"],
                condition=models.Q(status__in=["canceled", "failed"], cost_micros__gt=0),
                name="items_that_owe",
            ),
            # What operators look at.
            models.Index(fields=["-finished_at"], condition=models.Q(status="failed"), name="failed_items_by_time"),
        ]

    def __str__(self) -> str:
        return f"item {self.position} of {self.job_id}"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def recording(self) -> Media:
        """The recording of an item that was queued at least. The constraint item_has_media_before_it_is_queued."""
        assert self.media is not None, "a queued item has a recording"
        return self.media

    @property
    def name(self) -> str:
        """What the customer calls the file, whether it has come or not."""
        return self.media.name if self.media else self.upload.name if self.upload else ""

    @property
    def title(self) -> str:
        """What people call its transcript: a job of one recording can be renamed, and so can no file."""
        return self.job.name if self.job.item_count == 1 else self.name
