from django.urls import path, re_path

from transcription.dialects.openai import views

urlpatterns = [
    path("transcriptions", views.TranscriptionsView.as_view(), name="openai-transcriptions"),
    path("translations", views.TranslationsView.as_view(), name="openai-translations"),
    re_path(r"", views.OpenAiUnknownAddress.as_view(), name="openai-unknown"),
]
