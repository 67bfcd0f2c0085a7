from django.urls import path, re_path

from transcription.dialects.voxnexus import views

urlpatterns = [
    path("", views.SpeechToTextView.as_view(), name="voxnexus-stt"),
    re_path(r"^/", views.VoxNexusUnknownAddress.as_view(), name="voxnexus-unknown"),
]
