"""Rows for tests that are about what happens after a recording was accepted."""

import uuid
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from accounts.models import Organization
from transcription import jobs
from transcription.models import Job, Media
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript, Word


def make_media(organization: Organization, *, duration_ms: int = 10_000, content: bytes = b"sound") -> Media:
    media_id = uuid.uuid4()
    key = default_storage.save(f"media/{organization.pk}/{media_id}", ContentFile(content))
    return Media.objects.create(
        id=media_id,
        organization=organization,
        name="sentence-slt.wav",
        storage_key=key,
        size_bytes=len(content),
        sha256="0" * 64,
        duration_ms=duration_ms,
        container="wav",
        codec="pcm_s16le",
    )


def make_submission(
    organization: Organization, *, options: TranscriptionOptions | None = None, **fields: Any
) -> jobs.Submission:
    return jobs.Submission(
        organization=organization,
        options=options or TranscriptionOptions(),
        **{"model": "standard", "dialect": "native", **fields},
    )


def make_job(organization: Organization, *, duration_ms: int = 10_000, model: str = "standard", **fields: Any) -> Job:
    submission = make_submission(organization, model=model, **fields)
    return jobs.submit(submission, media=make_media(organization, duration_ms=duration_ms))


def make_batch(organization: Organization, count: int, **options: Any) -> Job:
    """Submit a job of so many recordings of 10 s, with these transcription options."""
    submission = make_submission(organization, options=TranscriptionOptions(**options))
    recordings = [make_media(organization) for _ in range(count)]
    return jobs.submit_batch(submission, recordings=recordings, name=f"{count} calls")


def make_transcript(text: str = "hello", *, duration_ms: int = 10_000) -> Transcript:
    words = tuple(
        Word(text=word, start_ms=index * 400, end_ms=index * 400 + 300, probability=0.9, speaker="S1")
        for index, word in enumerate(text.split())
    )
    segments = (Segment(start_ms=0, end_ms=words[-1].end_ms, text=text, words=words, speaker="S1"),) if words else ()
    return Transcript(
        language="en",
        language_probability=None,
        duration_ms=duration_ms,
        segments=segments,
        engine="pocketsphinx",
        diarizer="clustering",
        notes=(),
    )
