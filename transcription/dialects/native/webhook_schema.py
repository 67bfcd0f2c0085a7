"""The webhooks for the OpenAPI document (3.1, `webhooks`). Descriptions only: `wire` and `webhooks` make the bodies."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, OpenApiWebhook, extend_schema, inline_serializer
from rest_framework import serializers

from transcription.dialects.native import schema

ACCEPTED = OpenApiResponse(
    description="Any status from 200 to 299 within 15 s accepts it. After 410 nothing more is sent; after any other "
    "answer, or none, it is sent again, up to ten times in three days."
)
# drf-spectacular 0.30 takes no parameters for webhooks.
HEADERS = (
    "Signed as Standard Webhooks. The headers are webhook-id, the same in all attempts; webhook-timestamp, seconds "
    "since 1970 of this attempt; and webhook-signature: v1a, and the base64 of an Ed25519 signature of "
    "id.timestamp.body."
)


def _webhook(event: str, summary: str, data: Any) -> OpenApiWebhook:
    name = "".join(part.capitalize() for part in event.split("."))
    body = inline_serializer(
        f"{name}Webhook",
        {
            "type": serializers.CharField(help_text=f"Always {event}."),
            "timestamp": serializers.DateTimeField(help_text="When it happened."),
            "organization_id": serializers.UUIDField(
                help_text="Yours. Refuse any other one: the webhooks of all customers are signed with the same keys."
            ),
            "data": data,
        },
    )
    return OpenApiWebhook(
        event,
        extend_schema(
            operation_id=f"webhook_{event.replace('.', '_')}",
            summary=summary,
            tags=["Webhooks"],
            auth=[],
            description=HEADERS,
            request=body,
            responses={204: ACCEPTED},
        ),
    )


# As GET /v1/jobs/{job_id} has it: the same class, so the same component.
_JOB = type(schema.JobDetail)(help_text="The job, with a whole result_url and without the field webhook.")

JOB_COMPLETED = _webhook("job.completed", "A job has completed, perhaps with errors in some recordings", _JOB)
JOB_FAILED = _webhook("job.failed", "A job has failed", _JOB)
JOB_CANCELED = _webhook("job.canceled", "A job was canceled", _JOB)
BALANCE_LOW = _webhook(
    "balance.low",
    "The available balance fell below the alert",
    inline_serializer(
        "LowBalance",
        {
            "available_micros": serializers.IntegerField(help_text="Micro-dollars that can be spent."),
            "balance_micros": serializers.IntegerField(),
            "held_micros": serializers.IntegerField(help_text="Reserved for work that runs."),
            "threshold_micros": serializers.IntegerField(help_text="The alert, as it is set under Billing."),
        },
    ),
)
LIMIT_ALERT = _webhook(
    "limit.alert",
    "A part of a monthly limit is spent",
    inline_serializer(
        "LimitAlert",
        {
            "key_id": serializers.UUIDField(allow_null=True, help_text="null: the limit of the whole organization."),
            "percent": serializers.IntegerField(help_text="The part, as PUT /v1/alerts has it."),
            "month": serializers.CharField(help_text="YYYY-MM, UTC."),
            "spent_micros": serializers.IntegerField(help_text="What was charged in this month."),
            "limit_micros": serializers.IntegerField(help_text="The limit that counts now."),
        },
    ),
)
TOPUP_COMPLETED = _webhook(
    "topup.completed",
    "A payment is in the balance",
    inline_serializer(
        "CompletedTopUp",
        {
            "id": serializers.UUIDField(),
            "amount_cents": serializers.IntegerField(help_text="What was paid."),
            "bonus_cents": serializers.IntegerField(),
            "is_automatic": serializers.BooleanField(),
            "created_at": serializers.CharField(help_text="YYYY-MM-DD HH:MM:SS, UTC."),
        },
    ),
)
