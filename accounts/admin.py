"""Admin pages of accounts. They are read-only. Their actions call verbs of `organizations` and `api_keys`."""

from typing import Any

from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts import api_keys, closures, organizations
from accounts.models import ApiKey, AuditEntry, Invitation, Membership, Organization, Role, User
from accounts.operator_admin import MAX_OWNERS, BoundedPaginator, ModelAdmin, ReadOnlyAdmin, ReadOnlyInline


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = readonly_fields = ("user", "role", "created_at")


@admin.register(User)
class UserAdmin(ModelAdmin[User]):
    """Users. Operators may edit whether they are active, and whether they are staff."""

    list_display = ["email", "is_active", "is_staff", "date_joined"]
    search_fields = ["^email"]
    show_full_result_count = False
    paginator = BoundedPaginator
    fields = ["email", "is_active", "is_staff", "is_superuser", "groups", "last_login", "date_joined"]
    # The person must verify a new address by mail, so an operator cannot change it.
    readonly_fields = ["email", "last_login", "date_joined"]

    def has_add_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # Django's
        """Save. An account that is active again is not deleted any more."""
        if obj.is_active:
            obj.delete_at = None
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        # It would delete memberships too, perhaps that of a last owner.
        return False


@admin.register(Organization)
class OrganizationAdmin(ReadOnlyAdmin[Organization]):
    list_display = ["name", "id", "is_personal", "verified_at", "created_at", "closed_at"]
    organization_field = "pk"
    inlines = [MembershipInline]
    actions = ["verify", "restore"]

    def matches(self, term: str) -> Q:
        people = User.objects.filter(email__istartswith=term).order_by("pk")[:MAX_OWNERS]
        of_people = Membership.objects.filter(user__in=list(people)).values_list("organization", flat=True)
        return super().matches(term) | Q(pk__in=list(of_people))

    @admin.action(description="Mark as verified", permissions=["operate"])
    def verify(self, request: HttpRequest, rows: QuerySet[Organization]) -> None:
        self.do_for_each(request, rows, organizations.verify, done="Verified")

    @admin.action(description="Restore what an owner has deleted", permissions=["operate"])
    def restore(self, request: HttpRequest, rows: QuerySet[Organization]) -> None:
        self.do_for_each(request, rows, lambda row: closures.open_again(row.pk, by=None), done="Restored")


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin[Membership]):
    list_display = ["user", "organization", "role", "created_at"]
    list_filter = ["role"]
    list_select_related = ["user", "organization"]
    organization_field, person_field = "organization", "user"
    actions = ["make_owner", "make_admin", "make_member", "remove"]

    @admin.action(description="Make owner", permissions=["operate"])
    def make_owner(self, request: HttpRequest, rows: QuerySet[Membership]) -> None:
        self._give(request, rows, role=Role.OWNER)

    @admin.action(description="Make admin", permissions=["operate"])
    def make_admin(self, request: HttpRequest, rows: QuerySet[Membership]) -> None:
        self._give(request, rows, role=Role.ADMIN)

    @admin.action(description="Make member", permissions=["operate"])
    def make_member(self, request: HttpRequest, rows: QuerySet[Membership]) -> None:
        self._give(request, rows, role=Role.MEMBER)

    @admin.action(description="Remove from the organization", permissions=["operate"])
    def remove(self, request: HttpRequest, rows: QuerySet[Membership]) -> None:
        self.do_for_each(request, rows, lambda row: organizations.remove_member(row, by=None), done="Removed")

    def _give(self, request: HttpRequest, rows: QuerySet[Membership], *, role: Role) -> None:
        self.do_for_each(
            request,
            rows,
            lambda row: organizations.change_role(row, role=role, by=None),
            done=f"Is {role.label.lower()} now",
        )


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin[ApiKey]):
    list_display = ["prefix", "name", "organization", "last_used_at", "expires_at", "revoked_at"]
    list_select_related = ["organization"]
    exact_fields = ("pk", "prefix")
    organization_field = "organization"
    exclude = ["sha256", "previous_sha256"]
    actions = ["revoke"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        # Tokens go with their key, and there are many of them.
        return super().get_queryset(request).filter(parent=None)

    @admin.action(description="Revoke", permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[ApiKey]) -> None:
        self.do_for_each(request, rows, lambda row: api_keys.revoke(row.organization, key_id=row.pk), done="Revoked")


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin[Invitation]):
    list_display = ["email", "organization", "role", "expires_at", "accepted_at"]
    list_select_related = ["organization"]
    exact_fields = ("pk", "email")
    organization_field = "organization"
    exclude = ["token_sha256"]
    actions = ["withdraw"]

    @admin.action(description="Withdraw", permissions=["operate"])
    def withdraw(self, request: HttpRequest, rows: QuerySet[Invitation]) -> None:
        self.do_for_each(request, rows, lambda row: organizations.withdraw(row, by=None), done="Withdrawn")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin[AuditEntry]):
    list_display = ["created_at", "organization", "action", "subject", "user", "operator", "request_id"]
    list_select_related = ["organization", "user", "operator"]
    organization_field, person_field = "organization", "user"


# allauth's pages of them let an operator give anybody's account a door. Applications are switches of the environment,
# and tokens are not kept.
for model in (SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(model)


@admin.register(SocialAccount)
class SocialAccountAdmin(ReadOnlyAdmin[SocialAccount]):
    list_display = ["user", "provider", "uid", "date_joined", "last_login"]
    list_select_related = ["user"]
    exact_fields = ("pk", "uid")
    person_field = "user"
