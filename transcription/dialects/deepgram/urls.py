from django.urls import path, re_path

from transcription.dialects.deepgram import views

urlpatterns = [
    path("", views.ListenView.as_view(), name="deepgram-listen"),
    re_path(r"", views.DeepgramUnknownAddress.as_view(), name="deepgram-unknown"),
]
