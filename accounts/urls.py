"""Addresses of the pages that belong to no organization: making or restoring one, and accepting an invitation."""

from django.urls import path

from accounts import closure_pages, pages

urlpatterns = [
    path("organization/new/", pages.new_organization, name="organization-new"),
    path("organization/deleted/", closure_pages.deleted_organizations, name="organizations-deleted"),
    path("invitations/<str:token>/", pages.invitation, name="invitation"),
]
