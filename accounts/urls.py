"""Addresses of the pages that belong to no organization: making one, and accepting an invitation."""

from django.urls import path

from accounts import pages

urlpatterns = [
    path("organization/new/", pages.new_organization, name="organization-new"),
    path("invitations/<str:token>/", pages.invitation, name="invitation"),
]
