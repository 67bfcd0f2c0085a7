"""Addresses under `/transcripts/`."""

from django.urls import path

from transcription import pages, playback

urlpatterns = [
    path("", pages.transcripts, name="transcripts"),
    path("upload/", pages.upload, name="upload"),
    path("live/", pages.live, name="transcripts-live"),
    path("<uuid:job_id>/", pages.transcript, name="transcript"),
    path("<uuid:job_id>/progress/", pages.progress, name="transcript-progress"),
    path("<uuid:job_id>/ask/", pages.ask, name="transcript-ask"),
    path("<uuid:job_id>/cancel/", pages.cancel, name="transcript-cancel"),
    path("<uuid:job_id>/delete/", pages.delete, name="transcript-delete"),
    path("<uuid:job_id>/download/<slug:format_name>/", pages.download, name="transcript-download"),
    path("<uuid:job_id>/audio/", playback.audio, name="transcript-audio"),
]
