"""What a call would cost and hold now, without a charge, a hold or a row.

Each estimate runs the code that prices and admits the real call: `charging.quote_micros` and `ledger.reserve` for
recordings, the admission of the chat endpoint for everything that a language model does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts.errors import BadRequest, Conflict, NotFound, PaymentRequired
from accounts.models import ApiKey, Organization
from billing import ledger, tariff
from transcription import answers, assistant, jobs, rewriting
from transcription.models import Job, Media, Upload
from transcription.recordings import orderable
from transcription.speech.options import TranscriptionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """A recording of which only its length is known, or the id of one that was sent before.

    file_id: "" for one that is described by duration_ms and channel_count.
    """

    file_id: str = ""
    duration_ms: int = 0
    channel_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a call would cost and hold now.

    cost_micros: its price, as far as it can be known. max_cost_micros: the most that can be charged.
    held_micros: what would be held; 0 if the call would be refused.
    refusal: why balance and limits do not admit it; None if they do.
    recordings: (duration_ms, price in micros) of each recording, in their order.
    prompt_tokens, completion_tokens: of a language model: an estimate, and the most that the answer may have.
    """

    model: str
    cost_micros: int
    max_cost_micros: int
    held_micros: int
    refusal: PaymentRequired | None
    recordings: tuple[tuple[int, int], ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def of_recordings(
    organization: Organization,
    *,
    api_key: ApiKey | None,
    model: str,
    options: TranscriptionOptions,
    lengths: Sequence[Length],
) -> Estimate:
    """Return the estimate of one job of these recordings.

    Raises UnpricedModel, InvalidField for more channels than can be transcribed apart, BadMedia for a stored file that
    is no recording, Conflict (upload_not_received) for one that has not come yet, and NotFound alike for another
    organization's file and none.
    """
    priced = tariff.model_named(model)
    media = _media_of(organization, api_key=api_key, lengths=lengths)
    recordings = tuple(
        (one.duration_ms, jobs.quote_micros([one], options=options, rate_micros=priced.hour_micros)) for one in media
    )
    cost_micros = sum(price_micros for _, price_micros in recordings)
    held_micros, refusal = cost_micros, None
    try:
        ledger.reservable(organization, at_least_micros=cost_micros, at_most_micros=cost_micros, api_key=api_key)
    except PaymentRequired as error:
        held_micros, refusal = 0, error
    return Estimate(
        model=priced.name,
        cost_micros=cost_micros,
        max_cost_micros=cost_micros,
        held_micros=held_micros,
        refusal=refusal,
        recordings=recordings,
    )


def of_chat(organization: Organization, *, api_key: ApiKey | None, body: dict[str, Any]) -> Estimate:
    """Return the estimate of a chat request in OpenAI's format. Raises as that request, except for lack of money."""
    made = assistant.current().estimate(organization, body=body, api_key=api_key)
    return Estimate(
        model=made.model,
        cost_micros=made.cost_micros,
        max_cost_micros=made.max_cost_micros,
        held_micros=made.held_micros,
        refusal=made.refusal,
        prompt_tokens=made.prompt_tokens,
        completion_tokens=made.completion_tokens,
    )


def of_answer(job: Job, *, api_key: ApiKey | None = None, question: str) -> Estimate:
    """Return the estimate of a question about a transcript, or of its summary for an empty question.

    Raises NotFound and Conflict as `jobs.transcript_of`, BadRequest for an empty transcript or too long a question, and
    NotConfigured. api_key: a token that asks, whose limit counts and hides the others. People ask on the page of a
    transcript, so no key's limit counts.
    """
    if len(question) > answers.MAX_QUESTION_CHARACTERS:
        raise BadRequest(f"A question may have {answers.MAX_QUESTION_CHARACTERS} characters.", param="question")
    body = answers.body_for(jobs.transcript_of(job), question=question)
    return _of_own_request(job.organization, api_key=api_key, body=body)


def of_rewriting(
    job: Job, *, api_key: ApiKey | None, instruction: str, model: str | None, max_tokens: int | None
) -> Estimate:
    """Return the estimate of a transcript that a language model rewrites. Arguments as `rewriting.rewrite`.

    Raises as `of_answer`, and BadRequest for a transcript that is too long to be rewritten.
    """
    text = jobs.transcript_of(job).text
    if not text.strip():
        raise BadRequest("This recording has no speech, so there is nothing to rewrite.")
    if len(text.encode()) > settings.ASSISTANT_MAX_TEXT_BYTES:
        raise BadRequest("The transcript is too long for the language model.")
    body = rewriting.body_for(text, instruction=instruction, model=model, max_tokens=max_tokens)
    return _of_own_request(job.organization, api_key=api_key, body=body)


def _of_own_request(organization: Organization, *, api_key: ApiKey | None, body: dict[str, Any]) -> Estimate:
    # The site asks for a whole answer, and the field that says so counts as a part of the prompt.
    return of_chat(organization, api_key=api_key, body={**body, "stream": False})


def _media_of(organization: Organization, *, api_key: ApiKey | None, lengths: Sequence[Length]) -> list[Media]:
    """Return a recording for each length. Those without a file are not saved."""
    file_ids = [length.file_id for length in lengths if length.file_id]
    found = orderable.find_all(organization, file_ids=file_ids, api_key=api_key)
    media = []
    for number, length in enumerate(lengths):
        if not length.file_id:
            media.append(Media(duration_ms=length.duration_ms, channels=length.channel_count))
            continue
        param = "file_id" if len(lengths) == 1 else f"files[{number}].file_id"
        stored = found.get(length.file_id)
        if isinstance(stored, Upload):
            # Raises the reason for which a file at a URL could not be had.
            stored = orderable.find(organization, file_id=length.file_id)
        if isinstance(stored, Upload):
            stored = stored.media or _refuse_unknown_length(param)
        if stored is None:
            raise NotFound("There is no such file, or its time is over.", error_type="file_not_found", param=param)
        media.append(stored)
    return media


def _refuse_unknown_length(param: str) -> Media:
    raise Conflict(
        "The length of this file is not known yet. Ask again when it has come.",
        error_type="upload_not_received",
        param=param,
    )
