from django.urls import path, re_path

from accounts.gate.native import NativeUnknownAddress
from transcription.dialects.native import views

urlpatterns = [
    path("transcribe", views.TranscribeView.as_view(), name="v1-transcribe"),
    path("upload", views.UploadView.as_view(), name="v1-upload"),
    path("status/<str:job_id>", views.StatusView.as_view(), name="v1-status"),
    path("models", views.ModelsView.as_view(), name="v1-models"),
    path("languages", views.LanguagesView.as_view(), name="v1-languages"),
    path("jobs", views.JobsView.as_view(), name="v1-jobs"),
    path("jobs/<str:job_id>", views.JobView.as_view(), name="v1-job"),
    path("jobs/<str:job_id>/cancel", views.CancelView.as_view(), name="v1-cancel"),
    path("jobs/<str:job_id>/events", views.EventsView.as_view(), name="v1-events"),
    path("jobs/<str:job_id>/result", views.ResultView.as_view(), name="v1-result"),
    re_path(r"", NativeUnknownAddress.as_view(), name="v1-unknown"),
]
