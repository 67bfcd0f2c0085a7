"""The operator's view of the money: read only, because `ledger` is the only writer."""

from django.contrib import admin

from billing.models import Entry, Hold, Wallet


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, *_args, **_kwargs):
        return False

    def has_change_permission(self, *_args, **_kwargs):
        return False

    def has_delete_permission(self, *_args, **_kwargs):
        return False


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ["organization", "balance_micros", "held_micros", "created_at"]
    list_select_related = ["organization"]
    search_fields = ["organization__name", "organization__id"]


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "wallet", "kind", "amount_micros", "balance_after_micros", "reference", "description"]
    list_filter = ["kind"]
    search_fields = ["reference", "wallet__organization__name", "wallet__organization__id"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "wallet", "state", "amount_micros", "reference", "closed_at"]
    list_filter = ["state"]
    search_fields = ["reference", "wallet__organization__name", "wallet__organization__id"]
    ordering = ["-id"]
    show_full_result_count = False
