"""Completions: one row for each admitted completion. Only `completions` writes them."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing.models import Hold


class State(models.TextChoices):
    """A completion runs until it is charged, or is released because it costs nothing."""

    RUNNING = "running", "Running"
    CHARGED = "charged", "Charged"
    RELEASED = "released", "Released"


class CompletionQuerySet(models.QuerySet["Completion"]):
    """Completions, reached through their organization."""

    def of(self, organization: Organization) -> "CompletionQuerySet":
        return self.filter(organization=organization)

    def running(self) -> "CompletionQuerySet":
        return self.filter(state=State.RUNNING)


class Completion(models.Model):
    """One admitted chat completion: its usage, its price and its times. Prompts and answers are never stored here.

    Written by `completions` only.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="completions", db_index=False)
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    hold = models.OneToOneField(Hold, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    # The name of the model in the request, and the name of the upstream that answered.
    model = models.CharField(max_length=100)
    upstream = models.CharField(max_length=100, blank=True)
    is_stream = models.BooleanField(default=False)
    prompt_tokens = models.PositiveIntegerField(null=True)
    # Those of the prompt tokens that came from the upstream's cache. Null for completions before this column.
    cached_prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    # A value of `usage_meter.Source`: where the token numbers come from.
    source = models.CharField(max_length=10, blank=True)
    cost_micros = models.BigIntegerField(default=0)
    # Times from the arrival of the request to the first chunk and to the end of the answer.
    first_token_ms = models.PositiveIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    # The finish reason of the model ("stop", "length", "tool_calls") or our own: "client_left", "process_stopped",
    # "process_died" or the type of an error ("upstream_failed" ...).
    finish = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # The last heartbeat of the process that relays it, by the database's clock.
    seen_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    objects = CompletionQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="completion_list"),
            models.Index(fields=["seen_at"], condition=Q(state=State.RUNNING), name="completion_running"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state=State.RUNNING, ended_at__isnull=True, cost_micros=0)
                | Q(state=State.CHARGED, ended_at__isnull=False, cost_micros__gt=0)
                | Q(state=State.RELEASED, ended_at__isnull=False, cost_micros=0),
                name="completion_costs_only_when_charged",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.CHARGED) | Q(prompt_tokens__isnull=False, completion_tokens__isnull=False),
                name="completion_charged_has_tokens",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.model} {self.id}"

    @property
    def reference(self) -> str:
        """The reference of this completion in the ledger."""
        return reference_of(self.id)


def reference_of(completion_id: uuid.UUID) -> str:
    """Return the reference of a completion in the ledger."""
    return f"chat:{completion_id}"
