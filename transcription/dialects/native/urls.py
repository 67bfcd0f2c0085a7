from django.urls import path, re_path

from accounts.gate.native import NativeUnknownAddress
from transcription.dialects.native import estimate_views, result_views, views

urlpatterns = [
    path("transcribe", views.TranscribeView.as_view(), name="v1-transcribe"),
    path("upload", views.UploadView.as_view(), name="v1-upload"),
    path("status/<str:job_id>", views.StatusView.as_view(), name="v1-status"),
    path("estimate", estimate_views.EstimateView.as_view(), name="v1-estimate"),
    path("models", views.ModelsView.as_view(), name="v1-models"),
    path("languages", views.LanguagesView.as_view(), name="v1-languages"),
    path("jobs", views.JobsView.as_view(), name="v1-jobs"),
    path("jobs/<str:job_id>", views.JobView.as_view(), name="v1-job"),
    path("jobs/<str:job_id>/cancel", views.CancelView.as_view(), name="v1-cancel"),
    path("jobs/<str:job_id>/events", views.EventsView.as_view(), name="v1-events"),
    path("jobs/<str:job_id>/items", views.ItemsView.as_view(), name="v1-items"),
    path("jobs/<str:job_id>/result", result_views.ResultView.as_view(), name="v1-result"),
    path("jobs/<str:job_id>/result.docx", result_views.ResultDocumentView.as_view(), name="v1-result-document"),
    path("jobs/<str:job_id>/result.<str:extension>", result_views.ResultTextView.as_view(), name="v1-result-text"),
    re_path(r"", NativeUnknownAddress.as_view(), name="v1-unknown"),
]
