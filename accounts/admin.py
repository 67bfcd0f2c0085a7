from django.contrib import admin

from accounts.models import ApiKey, Invitation, Membership, Organization, User


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    raw_id_fields = ["user"]


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ["email", "is_active", "is_staff", "date_joined"]
    search_fields = ["email"]
    fields = ["email", "is_active", "is_staff", "is_superuser", "groups", "last_login", "date_joined"]
    readonly_fields = ["last_login", "date_joined"]


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin):
    list_display = ["name", "id", "is_personal", "verified_at", "created_at"]
    search_fields = ["name", "id", "members__email"]
    readonly_fields = ["verified_at", "created_at"]
    inlines = [MembershipInline]


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    list_display = ["prefix", "name", "organization", "last_used_at", "expires_at", "revoked_at"]
    search_fields = ["prefix", "name", "organization__name"]
    readonly_fields = [field.name for field in ApiKey._meta.fields if field.name not in {"name", "revoked_at"}]

    def has_add_permission(self, request, obj=None):
        return False


@admin.register(Invitation)
class InvitationAdmin(admin.ModelAdmin):
    list_display = ["email", "organization", "role", "expires_at", "accepted_at"]
    readonly_fields = [field.name for field in Invitation._meta.fields]
    exclude = ["token_sha256"]
