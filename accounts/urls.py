"""Addresses of the pages for keys, organizations and invitations."""

from django.urls import path

from accounts import pages

urlpatterns = [
    path("keys/", pages.keys, name="keys"),
    path("keys/<uuid:key_id>/revoke/", pages.revoke_key, name="key-revoke"),
    path("keys/<uuid:key_id>/limit/", pages.limit_key, name="key-limit"),
    path("organization/", pages.organization, name="organization"),
    path("organization/new/", pages.new_organization, name="organization-new"),
    path("organization/switch/", pages.switch, name="organization-switch"),
    path("organization/leave/", pages.leave, name="organization-leave"),
    path("organization/invite/", pages.invite, name="organization-invite"),
    path(
        "organization/invitations/<uuid:invitation_id>/withdraw/", pages.withdraw_invitation, name="invitation-withdraw"
    ),
    path("organization/members/<int:membership_id>/role/", pages.change_role, name="member-role"),
    path("organization/members/<int:membership_id>/remove/", pages.remove_member, name="member-remove"),
    path("invitations/<str:token>/", pages.invitation, name="invitation"),
]
