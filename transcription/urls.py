"""Addresses of transcripts of an organization."""

from django.urls import path

from transcription.pages import (
    batches,
    corrections,
    exporting,
    listing,
    naming,
    playback,
    sample,
    selected,
    sharing,
    transcripts,
)

urlpatterns = [
    path("", listing.transcripts, name="transcripts"),
    path("upload/", transcripts.upload, name="upload"),
    path("sample/", sample.transcribe, name="sample"),
    path("batches/", batches.begin, name="batch-begin"),
    path("selected/", selected.selected, name="transcripts-selected"),
    path("export/", exporting.export, name="export"),
    path("live/", listing.live, name="transcripts-live"),
    path("<uuid:job_id>/", transcripts.transcript, name="transcript"),
    path("<uuid:job_id>/progress/", transcripts.progress, name="transcript-progress"),
    path("<uuid:job_id>/ask/", transcripts.ask, name="transcript-ask"),
    path("<uuid:job_id>/sentences/", corrections.sentences, name="transcript-sentences"),
    path("<uuid:job_id>/speakers/", corrections.speakers, name="transcript-speakers"),
    path("<uuid:job_id>/share/", sharing.share, name="transcript-share"),
    path("<uuid:job_id>/share/<uuid:link_id>/revoke/", sharing.revoke, name="transcript-share-revoke"),
    path("<uuid:job_id>/rename/", naming.rename, name="transcript-rename"),
    path("<uuid:job_id>/tags/", naming.tags, name="transcript-tags"),
    path("<uuid:job_id>/cancel/", transcripts.cancel, name="transcript-cancel"),
    path("<uuid:job_id>/again/", transcripts.run_again, name="transcript-run-again"),
    path("<uuid:job_id>/delete/", transcripts.delete, name="transcript-delete"),
    path("<uuid:job_id>/download/", transcripts.download, name="transcript-export"),
    path("<uuid:job_id>/download/<slug:format_name>/", transcripts.download, name="transcript-download"),
    path("<uuid:job_id>/files/<int:position>/", batches.file, name="batch-file"),
    path("<uuid:job_id>/complete/", batches.complete, name="batch-complete"),
    path("<uuid:job_id>/archive/<slug:format_name>/", batches.archive, name="batch-archive"),
    path("<uuid:job_id>/audio/", playback.audio, name="transcript-audio"),
]
