"""The operators' admin pages of completions. Read-only, because `completions` is the only writer."""

from typing import Any

from django.contrib import admin

from apex.models import Completion


@admin.register(Completion)
class CompletionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # at run time it takes none
    list_display = [
        "created_at",
        "organization",
        "model",
        "upstream",
        "state",
        "prompt_tokens",
        "completion_tokens",
        "source",
        "cost_micros",
        "first_token_ms",
        "latency_ms",
        "finish",
    ]
    list_filter = ["state", "model", "source", "finish"]
    list_select_related = ["organization"]
    search_fields = ["id", "organization__name", "organization__id"]
    ordering = ["-created_at"]
    show_full_result_count = False

    def has_add_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False

    def has_change_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False

    def has_delete_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False
