from django.urls import path, re_path

from apex import views

urlpatterns = [
    path("chat/completions", views.chat_completions, name="apex-chat-completions"),
    path("models", views.models, name="apex-models"),
    re_path(r"", views.unknown, name="apex-unknown"),
]
