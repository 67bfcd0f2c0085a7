"""An estimate against the real call of each kind: the same amount, the same hold, the same refusal, and no trace."""

import asyncio
import json
import uuid

import pytest
from django.db.models import Sum

from accounts import api_keys
from accounts.errors import BadRequest, Conflict, InvalidField, NotConfigured, NotFound, PaymentRequired
from accounts.models import Organization
from apex import service, upstream
from apex.models import Completion
from billing import ledger, tariff
from billing.models import Entry, Hold, MonthlySpend, Wallet
from tests.transcription.factories import make_batch, make_job, make_media, make_submission, make_transcript
from transcription import answers, estimates, jobs, rewriting
from transcription.jobs.charging import LANGUAGE_BILLED_MS
from transcription.models import Job, Media, Upload
from transcription.recordings import imports, orderable
from transcription.speech.options import TranscriptionOptions

chatting = pytest.mark.usefixtures("chat")
pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]


def of(organization, *lengths, api_key=None, model="standard", **options):
    return estimates.of_recordings(
        organization, api_key=api_key, model=model, options=TranscriptionOptions(**options), lengths=lengths
    )


def length(seconds, channels=1):
    return estimates.Length(duration_ms=int(seconds * 1000), channel_count=channels)


def stored(organization, *, duration_ms=10_000, channels=1):
    media = make_media(organization, duration_ms=duration_ms)
    Media.objects.filter(pk=media.pk).update(channels=channels)
    media.refresh_from_db()
    orderable.offer(media, in_transaction=lambda _: None)
    return media


def everything(organization):
    """All rows that a call could leave behind, and all that it could change."""
    counts = [rows.objects.count() for rows in (Hold, Entry, MonthlySpend, Job, Media, Upload, Completion, Wallet)]
    wallet = Wallet.objects.of(organization).values().first()
    spent = MonthlySpend.objects.aggregate(sum=Sum("spent_micros"))["sum"]
    return counts, wallet, spent


def finish(job):
    for item in job.items.all():
        recording = item.recording
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(duration_ms=recording.duration_ms))
    job.refresh_from_db()
    return job


def completed(organization, text="good morning"):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript(text, duration_ms=job.duration_ms))
    job.refresh_from_db()
    return job


def leave_only(organization, micros):
    available = ledger.wallet_of(organization).available_micros
    ledger.reserve(organization, amount_micros=available - micros, reference=f"job:{uuid.uuid4()}")


# --- Recordings ------------------------------------------------------------------------------------------------------

CASES = [
    {},
    {"diarize": False},
    {"task": "translate"},
    {"channels": "split"},
    {"mixed_languages": True},
    {"only_language": True, "diarize": False},
]


@pytest.mark.long
@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize(
    ("model", "duration_ms"), [("standard", 1), ("premium", 9_999), ("whisper-1", 10_001), ("nova-3", 61_000)]
)
def test_estimate_is_the_hold_and_the_charge_of_a_real_job(organization, options, model, duration_ms):
    media = stored(organization, duration_ms=duration_ms, channels=2)
    made = of(organization, estimates.Length(file_id=str(media.pk)), model=model, **options)
    described = of(organization, estimates.Length(duration_ms=duration_ms, channel_count=2), model=model, **options)
    assert made == described
    submission = make_submission(organization, model=model, options=TranscriptionOptions(**options))
    job = jobs.submit(submission, media=media)
    assert made.held_micros == Hold.objects.get(reference=job.hold_reference).amount_micros > 0
    assert finish(job).cost_micros == made.cost_micros == made.max_cost_micros
    assert -Entry.objects.get(reference=job.hold_reference).amount_micros == made.cost_micros


def test_batch_costs_the_sum_of_what_each_recording_costs(organization):
    made = of(organization, *[length(10)] * 3)
    job = make_batch(organization, 3)
    assert made.held_micros == job.quoted_micros
    assert finish(job).cost_micros == made.cost_micros == 3 * tariff.price_of("standard", 10_000)
    assert [duration_ms for duration_ms, _ in made.recordings] == [10_000] * 3
    assert sum(price for _, price in made.recordings) == made.cost_micros


def test_one_file_twice_in_a_batch_is_priced_twice(organization):
    media = stored(organization)
    one = estimates.Length(file_id=str(media.pk))
    assert of(organization, one, one).cost_micros == 2 * of(organization, one).cost_micros


def test_detection_of_a_long_recording_costs_half_a_minute(organization):
    made = of(organization, length(3600), only_language=True, diarize=False)
    assert made.cost_micros == tariff.price_of("standard", LANGUAGE_BILLED_MS)


def test_estimate_leaves_nothing(organization):
    api_key, _ = api_keys.issue(organization, name="a", by=None)
    before = everything(organization)
    of(organization, length(10), api_key=api_key)
    of(organization, length(36_000), *[length(36_000)] * 99, api_key=api_key)
    assert everything(organization) == before


def test_estimate_in_an_organization_without_a_wallet_makes_none(db):
    penniless = Organization.objects.create(name="Penniless")
    made = of(penniless, length(10))
    assert (made.held_micros, made.refusal.type) == (0, "insufficient_balance")
    assert not Wallet.objects.of(penniless).exists()


def refusal_of(call):
    with pytest.raises(PaymentRequired) as caught:
        call()
    return caught.value.type, caught.value.message, caught.value.data


def lack_of_money(organization, api_key):
    leave_only(organization, 5)


def limit_of_organization(organization, api_key):
    ledger.set_monthly_limit(organization, limit_micros=5)


def limit_of_key(organization, api_key):
    api_key.monthly_limit_micros = 7
    api_key.save()


def frozen(organization, api_key):
    ledger.freeze(organization, reason="dispute:1")


@pytest.mark.parametrize("obstacle", [lack_of_money, limit_of_organization, limit_of_key, frozen])
def test_refusal_is_that_of_the_real_job(organization, obstacle):
    api_key, _ = api_keys.issue(organization, name="a", by=None)
    obstacle(organization, api_key)
    made = of(organization, length(10), api_key=api_key)
    assert (made.held_micros, made.cost_micros) == (0, tariff.price_of("standard", 10_000))
    submission = make_submission(organization, api_key=api_key)
    real = refusal_of(lambda: jobs.submit(submission, media=make_media(organization)))
    assert (made.refusal.type, made.refusal.message, made.refusal.data) == real


@pytest.mark.parametrize("left", [-1, 0])
def test_last_micro_decides_as_in_the_real_job(organization, left):
    leave_only(organization, tariff.price_of("standard", 10_000) + left)
    made = of(organization, length(10))
    assert (made.refusal is None) == (left == 0)
    if made.refusal is None:
        assert make_job(organization).quoted_micros == made.held_micros


def test_too_many_channels_are_refused_as_in_the_real_job(organization):
    with pytest.raises(InvalidField) as caught:
        of(organization, length(10, channels=9), channels="split")
    assert caught.value.data["param"] == "channels"
    assert of(organization, length(10, channels=9)).cost_micros == tariff.price_of("standard", 10_000)


# --- Other organizations' things -------------------------------------------------------------------------------------


def test_file_of_a_stranger_is_as_unknown_as_none(organization, charlies):
    theirs = stored(charlies)
    told = set()
    for file_id in (str(theirs.pk), str(uuid.uuid4()), "x", str(theirs.pk).upper(), "{" + str(theirs.pk) + "}"):
        with pytest.raises(NotFound) as caught:
            of(organization, estimates.Length(file_id=file_id))
        told.add((caught.value.type, caught.value.message, str(caught.value.data)))
    assert len(told) == 1


def test_limit_and_balance_of_a_stranger_do_not_count(organization, charlies):
    leave_only(charlies, 0)
    ledger.set_monthly_limit(charlies, limit_micros=0)
    assert of(organization, length(10)).refusal is None


def test_file_whose_length_is_not_known_is_not_guessed(organization):
    upload = imports.begin(organization, url="https://example.com/a.mp3", is_for_later=True)
    with pytest.raises(Conflict) as caught:
        of(organization, estimates.Length(file_id=str(upload.pk)))
    assert caught.value.type == "upload_not_received"


# --- Language models -------------------------------------------------------------------------------------------------


def chat_body(content="normal 5", **fields):
    return {"model": "apex-latest", "messages": [{"role": "user", "content": content}], "max_tokens": 100, **fields}


def complete(organization, body, *, limit_micros=None):
    """Send a program's request, and return what it was charged."""
    _, key = api_keys.issue(organization, name="program", by=None, monthly_limit_micros=limit_micros)

    async def ask():
        try:
            relay = await service.relay(json.dumps(body).encode(), key=key, request_id="one")
            head = await relay.head()
            charged_micros = await relay.charged_micros()
        finally:
            await upstream.close()
        if head.error is not None:
            raise head.error
        return charged_micros

    return asyncio.run(ask())


@chatting
@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"max_tokens": 1}, {"max_completion_tokens": 10**9}], ids=str)
def test_chat_holds_what_was_estimated_and_costs_at_most_what_was_said(organization, fields):
    body = chat_body(**fields)
    made = estimates.of_chat(organization, api_key=None, body=body)
    charged_micros = complete(organization, body)
    assert Hold.objects.get(reference__startswith="chat:").amount_micros == made.held_micros == made.cost_micros
    assert 0 < charged_micros <= made.max_cost_micros


@chatting
def test_upstream_that_states_absurd_usage_is_charged_the_most_that_was_said(organization):
    body = chat_body("mad-usage 5")
    made = estimates.of_chat(organization, api_key=None, body=body)
    assert complete(organization, body) == made.max_cost_micros > made.cost_micros


@chatting
def test_small_balance_shortens_the_answer_as_in_the_real_request(organization):
    leave_only(organization, 25)
    made = estimates.of_chat(organization, api_key=None, body=chat_body())
    assert (made.refusal, made.held_micros) == (None, 25)
    assert 16 <= made.completion_tokens < 100
    complete(organization, chat_body())
    assert Hold.objects.get(reference__startswith="chat:").amount_micros == 25


@chatting
def test_refusal_of_chat_is_that_of_the_real_request(organization):
    api_key, _ = api_keys.issue(organization, name="a", by=None)
    limit_of_key(organization, api_key)
    made = estimates.of_chat(organization, api_key=api_key, body=chat_body())
    real = refusal_of(lambda: complete(organization, chat_body(), limit_micros=7))
    assert (made.refusal.type, made.refusal.message, made.refusal.data) == real


@chatting
def test_estimate_of_chat_asks_nobody_and_leaves_nothing(organization, chat):
    before = everything(organization)
    estimates.of_chat(organization, api_key=None, body=chat_body())
    assert everything(organization) == before
    assert chat.bodies == []


@chatting
def test_metadata_of_a_chat_request_tags_its_charge(organization, chat):
    metadata = {"customer": "acme", "trace": {"id": 5}, "long": "x" * 500}
    complete(organization, chat_body(metadata=metadata))
    entry = Entry.objects.get(reference__startswith="chat:")
    assert dict(entry.tags.values_list("name", "value")) == {"customer": "acme"}


@chatting
def test_fault_of_a_chat_request_is_its_fault_here(organization):
    with pytest.raises(BadRequest):
        estimates.of_chat(organization, api_key=None, body=chat_body(messages=[]))


def test_without_an_upstream_chat_is_refused_as_the_real_request(organization, settings):
    settings.APEX_UPSTREAMS = []
    with pytest.raises(NotConfigured):
        estimates.of_chat(organization, api_key=None, body=chat_body())


@chatting
@pytest.mark.parametrize("question", ["", "normal 3 words, please"])
def test_answer_about_a_transcript_holds_what_was_estimated(organization, alice, question):
    job = completed(organization)
    made = estimates.of_answer(job, question=question)
    answer = answers.ask(job, question=question, token=uuid.uuid4(), by=alice)
    assert Hold.objects.get(reference__startswith="chat:").amount_micros == made.held_micros
    assert 0 < answer.charged_micros <= made.max_cost_micros


@chatting
def test_rewriting_holds_what_was_estimated(organization):
    job = completed(organization)
    made = estimates.of_rewriting(job, api_key=None, instruction="Shorten.", model="gpt-4.1", max_tokens=50)
    text = jobs.transcript_of(job).text

    async def rewrite():
        try:
            return await rewriting.rewrite(
                organization,
                text=text,
                instruction="Shorten.",
                job=job,
                model="gpt-4.1",
                max_tokens=50,
            )
        finally:
            await upstream.close()

    assert asyncio.run(rewrite()).text
    assert Hold.objects.get(reference__startswith="chat:").amount_micros == made.held_micros


@chatting
def test_silent_transcript_has_nothing_to_ask_about(organization):
    job = completed(organization, text="")
    with pytest.raises(BadRequest):
        estimates.of_answer(job, question="")
    with pytest.raises(BadRequest):
        estimates.of_rewriting(job, api_key=None, instruction="x", model=None, max_tokens=None)


@chatting
def test_question_that_the_page_refuses_is_refused(organization):
    with pytest.raises(BadRequest):
        estimates.of_answer(completed(organization), question="x" * 1001)


@chatting
def test_estimate_is_no_retrieval(organization):
    job = completed(organization)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    estimates.of_answer(Job.objects.get(pk=job.pk), question="")
    assert Job.objects.get(pk=job.pk).delete_at == job.delete_at
