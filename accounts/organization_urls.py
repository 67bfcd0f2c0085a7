"""Addresses of the pages of an organization for keys and members."""

from django.urls import path

from accounts import activity_pages, closure_pages, key_pages, pages, request_pages

urlpatterns = [
    path("keys/", key_pages.keys, name="keys"),
    path("keys/<uuid:key_id>/", key_pages.key, name="key"),
    path("keys/<uuid:key_id>/revoke/", key_pages.revoke_key, name="key-revoke"),
    path("keys/<uuid:key_id>/limit/", key_pages.limit_key, name="key-limit"),
    path("keys/<uuid:key_id>/rotate/", key_pages.rotate_key, name="key-rotate"),
    path("keys/<uuid:key_id>/scopes/", key_pages.scope_key, name="key-scopes"),
    path("requests/", request_pages.requests, name="requests"),
    path("activity/", activity_pages.activity, name="activity"),
    path("organization/", pages.organization, name="organization"),
    path("organization/rename/", pages.rename_organization, name="organization-rename"),
    path("organization/delete/", closure_pages.delete_organization, name="organization-delete"),
    path("organization/leave/", pages.leave, name="organization-leave"),
    path("organization/invite/", pages.invite, name="organization-invite"),
    path("organization/invitations/<uuid:invitation_id>/resend/", pages.resend_invitation, name="invitation-resend"),
    path(
        "organization/invitations/<uuid:invitation_id>/withdraw/", pages.withdraw_invitation, name="invitation-withdraw"
    ),
    path("organization/members/<int:membership_id>/role/", pages.change_role, name="member-role"),
    path("organization/members/<int:membership_id>/remove/", pages.remove_member, name="member-remove"),
]
