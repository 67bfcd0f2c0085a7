from django.urls import path, re_path

from transcription.dialects.transcribeapi import gate, job_views, key_views, views

urlpatterns = [
    path(
        ".well-known/transcribeapi-webhook-keys.json",
        key_views.TranscribeApiKeysView.as_view(),
        name="transcribeapi-webhook-keys",
    ),
    path("v1/transcribe", views.TranscribeView.as_view(), name="transcribeapi-transcribe"),
    path("v1/transcribe/<str:job_id>", views.JobView.as_view(), name="transcribeapi-job"),
    path("v1/transcribe/<str:job_id>/result", views.JobResultView.as_view(), name="transcribeapi-job-result"),
    path(
        "v1/transcribe/<str:job_id>/upload-completed",
        job_views.UploadCompletedView.as_view(),
        name="transcribeapi-upload-completed",
    ),
    path("v1/jobs", job_views.JobsView.as_view(), name="transcribeapi-jobs"),
    path("v1/jobs/<str:job_id>/upload-urls", job_views.UploadUrlsView.as_view(), name="transcribeapi-upload-urls"),
    path("v1/jobs/<str:job_id>/resume-upload", job_views.ResumeUploadView.as_view(), name="transcribeapi-resume"),
    path("v1/results/<str:job_id>", views.ResultView.as_view(), name="transcribeapi-result"),
    path("v1/add-funds", views.AddFundsView.as_view(), name="transcribeapi-add-funds"),
    re_path(r"", gate.TranscribeApiUnknownAddress.as_view(), name="transcribeapi-unknown"),
]
