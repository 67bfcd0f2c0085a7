"""Webhooks: the keys that sign them, the endpoints that get them, and every delivery with its attempts.

Only the package `webhooks` writes these rows.
"""

import secrets
import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Organization
from transcription.models.jobs import Job

MAX_URL_LENGTH = 2000


class EventType(models.TextChoices):
    """What a webhook tells. The values are public, so none is ever renamed."""

    JOB_COMPLETED = "job.completed", "Job completed"
    JOB_FAILED = "job.failed", "Job failed"
    JOB_CANCELED = "job.canceled", "Job canceled"
    BALANCE_LOW = "balance.low", "Balance low"
    LIMIT_ALERT = "limit.alert", "Limit alert"
    TOPUP_COMPLETED = "topup.completed", "Top-up completed"
    # Sent by hand, to try an endpoint.
    TEST = "webhook.test", "Test"


class DeliveryState(models.TextChoices):
    """Whether a delivery is still tried."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"


class Fault(models.TextChoices):
    """Why an attempt, or a whole delivery, did not succeed."""

    STATUS = "status", "The receiver did not answer with 2xx"
    REDIRECT = "redirect", "The receiver answered with a redirect, which is not followed"
    GONE = "gone", "The receiver answered 410: it wants no more"
    TIMEOUT = "timeout", "The receiver did not answer in time"
    UNKNOWN_HOST = "unknown_host", "There is no host of this name"
    UNREACHABLE = "unreachable", "The receiver could not be reached"
    REFUSED = "refused", "The address may not be called"
    INTERRUPTED = "interrupted", "The attempt was interrupted on our side"
    ENDPOINT_OFF = "endpoint_off", "The endpoint was turned off"


class SigningKey(models.Model):
    """One Ed25519 key pair. The newest one whose time has come signs; the others are published beside it."""

    # Counts up. Its uniqueness lets one of two processes make the next key.
    number = models.PositiveIntegerField(unique=True)
    # 32 bytes in standard base64. The private half is encrypted (`accounts.encryption`).
    public_key = models.CharField(max_length=44)
    private_key = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    signs_from = models.DateTimeField()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return self.kid

    @property
    def kid(self) -> str:
        """The name of the key in the published document."""
        return f"v{self.number}"


class WebhookEndpoint(models.Model):
    """An address that an organization registered for events."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="webhook_endpoints")
    url = models.CharField(max_length=MAX_URL_LENGTH)
    description = models.CharField(max_length=100, blank=True)
    # A list of EventType.
    events = models.JSONField(default=list)
    # A header that every request carries, so that the receiver lets it in. The value is encrypted and never shown.
    header_name = models.CharField(max_length=100, blank=True)
    header_value = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # Null while it is on. The fault is GONE if the receiver turned it off itself.
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_by = models.CharField(max_length=20, choices=Fault.choices, blank=True)

    class Meta:
        indexes = [models.Index(fields=["organization", "created_at"], name="webhook_endpoint_list")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(header_name="", header_value="")
                | ~models.Q(header_name="") & ~models.Q(header_value=""),
                name="webhook_header_is_whole",
            ),
        ]

    def __str__(self) -> str:
        return self.url

    @property
    def is_on(self) -> bool:
        return self.disabled_at is None

    @property
    def event_labels(self) -> list[str]:
        return [EventType(event).label for event in self.events]


def new_message_id() -> str:
    """Return an id that nobody can guess. It has no full stop, which separates the parts of what is signed."""
    return f"msg_{secrets.token_hex(16)}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Deliveries, reached through their organization."""

    def of(self, organization: Organization) -> "DeliveryQuerySet":
        return self.filter(organization=organization)

    def to_webhook_of(self, job: Job) -> "Delivery | None":
        """Return the one to the `webhook_url` of a job, None before the job has ended and once the log is over."""
        return self.filter(job=job, endpoint__isnull=True).first() if job.webhook_url else None

    def newest_first(self) -> "DeliveryQuerySet":
        return self.order_by("-created_at", "-id")

    def older_than(self, place: "Delivery") -> "DeliveryQuerySet":
        """Return the deliveries that follow one in the order of `newest_first`."""
        older = Q(created_at__lt=place.created_at) | Q(id__lt=place.pk)
        # The first condition alone is one that an index can begin at.
        return self.filter(created_at__lte=place.created_at).filter(older)


class Delivery(models.Model):
    """One message to one receiver: the outbox, and later the log. Inserted in the transaction of what it tells.

    The deliverer claims it by an UPDATE that counts `attempt` up and moves `next_attempt_at` behind the lease. So a
    deliverer that dies leaves a row that falls due by itself, and a result of an older attempt changes nothing.
    """

    # The header webhook-id, the same in all attempts.
    id = models.CharField(primary_key=True, max_length=40, default=new_message_id, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="webhook_deliveries")
    # Null for the webhook of a single job.
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries"
    )
    # Deliveries about a job go with it.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, blank=True, related_name="webhook_deliveries")
    event = models.CharField(max_length=40, choices=EventType.choices)
    # Name in `webhooks.signatures.SIGNERS`.
    signer = models.CharField(max_length=20, default="standard")
    # As they are now: a changed endpoint changes them too. Host and port in one: what a limit of open requests is for.
    url = models.CharField(max_length=MAX_URL_LENGTH)
    host = models.CharField(max_length=300)
    # Exactly what is sent and signed.
    body = models.TextField()
    state = models.CharField(max_length=12, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    # How often it was claimed. Only grows.
    attempt = models.PositiveIntegerField(default=0)
    # How many attempts of the schedule were begun. A delivery that is sent again begins a new schedule.
    step = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    # When a receiver has first accepted it.
    delivered_at = models.DateTimeField(null=True, blank=True)
    # Of the last attempt.
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    fault = models.CharField(max_length=20, choices=Fault.choices, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
                name="due_webhook_deliveries",
            ),
            models.Index(fields=["organization", "-created_at", "-id"], name="webhook_log"),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_log_of_endpoint"),
            models.Index(fields=["created_at"], name="webhook_log_by_age"),
            # What operators look at.
            models.Index(fields=["-created_at"], condition=models.Q(state="failed"), name="failed_webhooks_by_time"),
            # Nearly all are delivered. The others are few, and looked for.
            models.Index(
                fields=["organization", "state", "-created_at", "-id"],
                condition=~models.Q(state="delivered"),
                name="webhook_log_of_faults",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state="pending", next_attempt_at__isnull=False)
                | ~models.Q(state="pending") & models.Q(next_attempt_at__isnull=True),
                name="pending_delivery_has_a_next_attempt",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="delivered") | models.Q(delivered_at__isnull=False),
                name="delivered_delivery_has_its_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.host} ({self.id})"

    @property
    def is_pending(self) -> bool:
        return self.state == DeliveryState.PENDING


class DeliveryAttempt(models.Model):
    """One request of a delivery and its answer. Inserted by the claim, so that an interrupted one is seen too."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    url = models.CharField(max_length=MAX_URL_LENGTH)
    started_at = models.DateTimeField()
    # Null while it runs, and for ever if its process died.
    finished_at = models.DateTimeField(null=True, blank=True)
    # What was sent, without the value of the customer's own header.
    request_headers = models.JSONField(default=dict)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    response_headers = models.JSONField(default=dict)
    # The beginning of it.
    response_body = models.TextField(blank=True)
    fault = models.CharField(max_length=20, choices=Fault.choices, blank=True)
    # A sentence for the customer.
    fault_detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="one_row_per_webhook_attempt")]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"

    @property
    def duration_ms(self) -> int | None:
        """How long it took, None while it runs."""
        if self.finished_at is None:
            return None
        return int((self.finished_at - self.started_at).total_seconds() * 1000)
