"""Addresses under `/transcripts/`."""

from django.urls import path

from transcription.pages import playback, transcripts

urlpatterns = [
    path("", transcripts.transcripts, name="transcripts"),
    path("upload/", transcripts.upload, name="upload"),
    path("live/", transcripts.live, name="transcripts-live"),
    path("<uuid:job_id>/", transcripts.transcript, name="transcript"),
    path("<uuid:job_id>/progress/", transcripts.progress, name="transcript-progress"),
    path("<uuid:job_id>/ask/", transcripts.ask, name="transcript-ask"),
    path("<uuid:job_id>/cancel/", transcripts.cancel, name="transcript-cancel"),
    path("<uuid:job_id>/delete/", transcripts.delete, name="transcript-delete"),
    path("<uuid:job_id>/download/<slug:format_name>/", transcripts.download, name="transcript-download"),
    path("<uuid:job_id>/audio/", playback.audio, name="transcript-audio"),
]
