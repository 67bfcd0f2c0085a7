from django.urls import path, re_path

from transcription.dialects.deepgram import project_views

urlpatterns = [
    path("projects", project_views.ProjectsView.as_view(), name="deepgram-projects"),
    path("projects/<str:project_id>", project_views.ProjectView.as_view(), name="deepgram-project"),
    path("projects/<str:project_id>/balances", project_views.BalancesView.as_view(), name="deepgram-balances"),
    re_path(r"^projects", project_views.ProjectUnknownAddress.as_view(), name="deepgram-projects-unknown"),
]
