"""Recordings that were accepted. Only `recordings` writes them."""

import uuid
from datetime import datetime

from django.db import models
from django.utils import timezone

from accounts.models import ApiKey, Organization


class MediaQuerySet(models.QuerySet["Media"]):
    """Media, reached through their organization."""

    def of(self, organization: Organization) -> "MediaQuerySet":
        return self.filter(organization=organization)

    def orderable(self, *, now: datetime) -> "MediaQuerySet":
        """Return those for which jobs can be ordered by their id."""
        return self.filter(orderable_until__gt=now)


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
    # Sent without a job: until then jobs can be ordered for it by its id. Null for all others, and once the clock has
    # seen that the time is over.
    orderable_until = models.DateTimeField(null=True, blank=True)

    objects = MediaQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="media_list"),
            models.Index(fields=["-created_at"], name="media_of_all"),
            models.Index(
                fields=["orderable_until"],
                condition=models.Q(orderable_until__isnull=False),
                name="orderable_media_by_end",
            ),
            # What an organization has sent without a job is added up before it may send more.
            models.Index(
                fields=["organization"],
                condition=models.Q(orderable_until__isnull=False),
                name="orderable_media_of",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(duration_ms__gt=0), name="media_has_duration"),
            models.CheckConstraint(condition=models.Q(channels__gt=0), name="media_has_a_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class UploadState(models.TextChoices):
    """From the announcement of a file to a recording."""

    # Announced; the bytes have not come.
    WAITING = "waiting", "Waiting for its bytes"
    # All bytes lie in storage, not probed yet.
    RECEIVED = "received", "Received"
    # Probed: there is a Media.
    ACCEPTED = "accepted", "Accepted"
    # Probed: the file is no recording.
    REFUSED = "refused", "Refused"
    # The bytes did not come in time.
    EXPIRED = "expired", "Expired"


class UploadQuerySet(models.QuerySet["Upload"]):
    """Uploads, reached through their organization."""

    def of(self, organization: Organization) -> "UploadQuerySet":
        return self.filter(organization=organization)


class Upload(models.Model):
    """A file that was announced before its bytes came. It becomes a Media once it has come and was probed.

    What the customer declared is not trusted: the size is compared when the bytes have come, and the content type is
    only kept. Written by `recordings.uploads` only.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="uploads")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # As the customer named it, cleaned for display; never used as a path.
    name = models.CharField(max_length=255)
    # Null until it has come, if its size was not told: of a file that is fetched from a URL, for example.
    declared_bytes = models.BigIntegerField(null=True, blank=True)
    declared_type = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=12, choices=UploadState.choices, default=UploadState.WAITING)
    # Where the bytes lie, and stay when they become a Media.
    storage_key = models.CharField(max_length=200, unique=True)
    # Of an upload in parts: its number, ours or S3's, until it is given up, and the size of all parts but the last one.
    multipart_id = models.CharField(max_length=1024, blank=True, default="", db_default="")
    part_bytes = models.BigIntegerField(null=True, blank=True)
    # What our own endpoint has answered when all had come, so that a repeat gets the same answer.
    etag = models.CharField(max_length=40, blank=True, default="", db_default="")
    # The announcement accepts a file whose header states more than it holds. That counts for every order of it.
    may_be_truncated = models.BooleanField(default=False, db_default=False)
    media = models.OneToOneField(Media, on_delete=models.CASCADE, null=True, blank=True, related_name="upload")
    error_type = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects = UploadQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="upload_list"),
            models.Index(fields=["-created_at"], name="uploads_of_all"),
            # The clock asks for those that did not come in time.
            models.Index(fields=["expires_at"], condition=models.Q(state="waiting"), name="waiting_uploads_by_expiry"),
            # And for those that no job has asked for in time.
            models.Index(
                fields=["expires_at"], condition=models.Q(state="received"), name="received_uploads_by_expiry"
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=UploadState.values), name="upload_state_is_known"),
            models.CheckConstraint(condition=models.Q(declared_bytes__gt=0), name="upload_declares_bytes"),
            # With both sizes the place of each part is known. A comparison with null would pass, so null is named.
            models.CheckConstraint(
                condition=models.Q(multipart_id="")
                | models.Q(
                    part_bytes__isnull=False,
                    part_bytes__gt=0,
                    declared_bytes__isnull=False,
                    declared_bytes__gt=0,
                ),
                name="upload_in_parts_has_sizes",
            ),
            models.CheckConstraint(
                condition=models.Q(state="accepted", media__isnull=False)
                | (~models.Q(state="accepted") & models.Q(media__isnull=True)),
                name="accepted_upload_has_media",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def has_its_bytes(self) -> bool:
        return self.state in {UploadState.RECEIVED, UploadState.ACCEPTED, UploadState.REFUSED}


class Import(models.Model):
    """The URL from which the bytes of an upload are fetched, and which process does it.

    The row is there until that has ended, and the URL goes with it: URLs of stores are keys for whoever has them.
    Written by `recordings.imports` only.
    """

    upload = models.OneToOneField(Upload, on_delete=models.CASCADE, related_name="source")
    # The upload's. Organizations are served in turn, so it stands here too.
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    url = models.TextField()
    # The least first: 0 for somebody who waits for the answer, 1, and 2 for one of many files.
    rank = models.PositiveSmallIntegerField(default=1)
    # Whether it is fetched without a job. The upload of a job is not fetched any more when the job was canceled.
    is_for_later = models.BooleanField(default=False)
    # How often it was claimed. Every write of a process that fetches names it.
    attempt = models.PositiveSmallIntegerField(default=0)
    # Last heartbeat of the process that fetches it. Null while it waits.
    touched_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(
                fields=["organization", "rank", "created_at"],
                condition=models.Q(touched_at__isnull=True),
                name="waiting_imports",
            ),
            models.Index(
                fields=["touched_at"], condition=models.Q(touched_at__isnull=False), name="running_imports_by_age"
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(rank__lte=2), name="import_rank_is_known"),
            models.CheckConstraint(
                condition=models.Q(touched_at__isnull=True) | models.Q(attempt__gt=0), name="running_import_was_claimed"
            ),
        ]

    def __str__(self) -> str:
        # Without the URL, which may be secret.
        return f"import of {self.upload_id}"
