"""What a customer asks for when they submit a job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from accounts.models import ApiKey, Organization, User
from transcription.jobs.retention import KEEP, Retention
from transcription.models import Job, Priority
from transcription.speech.options import TranscriptionOptions
from transcription.webhooks.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """All that is known of a job except its recordings.

    dialect: the API, or "pages", that it came through; later answers use its words. priority: None for the default of
    the verb, which is standard for one recording and bulk for many. in_transaction: called with the job inside the
    transaction that creates it; an exception undoes the job. metadata: pairs of texts that are kept with the job.
    webhook: who is told when the job ends, besides the organization's endpoints.
    """

    organization: Organization
    model: str
    options: TranscriptionOptions
    dialect: str
    priority: Priority | None = None
    api_key: ApiKey | None = None
    created_by: User | None = None
    in_transaction: Callable[[Job], None] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    retention: Retention = KEEP
    webhook: Target | None = None
