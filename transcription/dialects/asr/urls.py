from django.urls import path, re_path

from transcription.dialects.asr import views

urlpatterns = [
    path("asr", views.AsrView.as_view(), name="asr"),
    path("detect-language", views.DetectLanguageView.as_view(), name="asr-detect-language"),
    re_path(r"^(asr|detect-language)", views.AsrUnknownAddress.as_view(), name="asr-unknown"),
]
