"""The sample recording for people who have transcribed nothing yet."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from accounts.access import organization_for, person
from accounts.decorators import page
from accounts.errors import VoxsiteError
from accounts.gate import limits
from accounts.links import page_url, redirect_to_page
from accounts.models import Organization
from accounts.sent_forms import RefusedRedirect, sent_once
from billing import tariff
from transcription import submissions
from transcription.jobs import Submission
from transcription.models import Job, Priority
from transcription.speech.options import TranscriptionOptions

# The conversation of tests/fixtures/appointment.mp3, which the landing page shows and plays.
RECORDING = Path(settings.BASE_DIR) / "static/sample.mp3"
NAME = "Sample conversation.mp3"
MODEL = "standard"
DURATION_MS = 21_528


@page
@require_POST
@sent_once
def transcribe(request: HttpRequest) -> HttpResponse:
    """Transcribe the sample recording, at the usual price, and show its transcript."""
    organization = organization_for(request)
    submission = Submission(
        organization=organization,
        model=MODEL,
        options=TranscriptionOptions(language="en", diarize=True),
        dialect="pages",
        priority=Priority.INTERACTIVE,
        created_by=person(request),
    )
    upload = SimpleUploadedFile(NAME, RECORDING.read_bytes(), content_type="audio/mpeg")
    try:
        limits.spend(organization, scope="uploads")
        job = submissions.submit_file(submission, upload=upload)
    except VoxsiteError as error:
        messages.error(request, error.message)
        return RefusedRedirect(page_url(organization.pk, "upload"))
    return redirect_to_page(request, "transcript", job.pk)


def offer(organization: Organization) -> dict[str, Any]:
    """Return what pages say of the sample: whether it is offered, and its price. Whoever has a job needs it no more."""
    # In the order of an index: without one PostgreSQL reads the table, because the first row it meets may do.
    newest = Job.objects.of(organization).order_by("-created_at", "-pk").values_list("pk", flat=True)[:1]
    is_newcomer = not newest
    return {"is_newcomer": is_newcomer, "sample_micros": tariff.price_of(MODEL, DURATION_MS)}
