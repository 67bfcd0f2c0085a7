"""The operators' admin pages of completions. Read-only, because `completions` is the only writer."""

from django.contrib import admin

from accounts.operator_admin import ReadOnlyAdmin
from apex.models import Completion


@admin.register(Completion)
class CompletionAdmin(ReadOnlyAdmin[Completion]):
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
    organization_field = "organization"
    # Ids of holds are in the order of time, and have an index.
    ordering = ["-hold"]
