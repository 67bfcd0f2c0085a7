"""What a customer asks for when they submit a job, and what one recording of it adds to that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from accounts.models import ApiKey, Organization, User
from transcription.jobs.retention import KEEP, Retention
from transcription.models import Job, JobItem, Media, Priority, Upload
from transcription.speech.language_tags import DETECT
from transcription.speech.options import TranscriptionOptions
from transcription.webhooks.targets import Target

# Of one job together, as TranscribeAPI publishes its limits.
MAX_FILES = 10_000
MAX_BATCH_BYTES = 10 * 1000**3
MAX_REFERENCE_LENGTH = 255
# How the names of answer options begin that are about one request. A job that is run again does not get them.
OF_THE_REQUEST = "request_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """All that is known of a job except its recordings.

    dialect: the API, or "pages", that it came through; later answers use its words. priority: None for the default of
    the verb, which is standard for one recording and bulk for many. in_transaction: called with the job inside the
    transaction that creates it; an exception undoes the job. metadata: pairs of texts that are kept with the job.
    webhook: who is told when the job ends, besides the organization's endpoints.
    answer_options: JSON values that the dialect keeps with the job for its later answers, by their names.
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
    answer_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recording of a job: a file that the customer will send, one at a URL, or one that was sent before.

    reference: what the customer calls it in their own system, at most MAX_REFERENCE_LENGTH characters and unique in the
    job; "" for none. name: what lists show; of a URL, "" takes the name from the URL.
    declared_bytes, declared_type: of a file that will be sent; None for a size that is not known yet.
    url: where it is fetched from. stored: what `recordings.orderable.find` returned.
    language: as `TranscriptionOptions` has it, or one of DETECT, for this recording alone; "" for the job's.
    """

    reference: str = ""
    name: str = ""
    declared_bytes: int | None = None
    declared_type: str = ""
    url: str = ""
    stored: Media | Upload | None = None
    language: str = ""


def options_of(item: JobItem) -> TranscriptionOptions:
    """Return the options of an item: those of its job, with the item's own language."""
    options = TranscriptionOptions.from_dict(item.job.options)
    if not item.requested_language:
        return options
    if item.requested_language in DETECT:
        return replace(options, language=None)
    return replace(options, language=item.requested_language, languages=(), mixed_languages=False)
