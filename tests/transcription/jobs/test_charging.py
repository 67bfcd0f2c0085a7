"""What jobs cost: the price of each recording, one charge at the end, nothing for work that failed."""

import pytest

from accounts.errors import InvalidField, PaymentRequired
from billing import ledger, statements
from billing.models import Entry, EntryKind, Wallet
from tests.transcription.factories import make_batch, make_job, make_media, make_submission, make_transcript
from transcription import jobs
from transcription.models import Media, Status
from transcription.speech.options import TranscriptionOptions

# 10 s at 300,000 micro-dollars an hour.
TEN_SECONDS_MICROS = 833


@pytest.fixture
def job(organization):
    return make_job(organization)


def item_of(job):
    return job.items.get()


def claim(job):
    item = jobs.claim(item_of(job).pk)
    assert item is not None
    return item


def usage(organization):
    return list(Entry.objects.filter(wallet__organization=organization, kind=EntryKind.USAGE))


def finish(item):
    assert jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript())


def fail(item):
    jobs.fail_item(jobs.claim(item.pk), error_type="not_audio", message="No audio.", may_retry=False)


def assert_books_are_true(organization):
    assert ledger.verify(ledger.wallet_of(organization)) == []


def test_channels_apart_are_promised_and_charged_each(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).update(channels=3)
    media.refresh_from_db()
    options = TranscriptionOptions(channels="split")
    job = jobs.submit(make_submission(organization, options=options), media=media)
    assert job.quoted_micros == 3 * TEN_SECONDS_MICROS
    assert statements.balance(organization).held_micros == 3 * TEN_SECONDS_MICROS
    jobs.finish_item(claim(job), transcript=make_transcript())
    assert [entry.amount_micros for entry in usage(organization)] == [-3 * TEN_SECONDS_MICROS]
    assert_books_are_true(organization)
    # Mixed, the same recording costs its length once.
    mixed = jobs.submit(make_submission(organization), media=media)
    assert mixed.quoted_micros == TEN_SECONDS_MICROS


def test_line_of_the_ledger_keeps_the_number_of_channels_whatever_the_name(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).update(channels=2, name="x" * 255)
    media.refresh_from_db()
    options = TranscriptionOptions(channels="split")
    job = jobs.submit(make_submission(organization, options=options), media=media)
    jobs.finish_item(claim(job), transcript=make_transcript())
    [entry] = usage(organization)
    assert entry.description.endswith(" (2 channels)")
    assert len(entry.description) == 200


def test_length_that_was_quoted_is_billed_when_the_decoder_trims_a_little(job):
    jobs.finish_item(claim(job), transcript=make_transcript(duration_ms=10_050))
    job.refresh_from_db()
    assert job.cost_micros == job.quoted_micros
    assert job.duration_ms == 10_000


def test_decoded_length_is_billed_when_the_probe_erred(organization, job):
    jobs.finish_item(claim(job), transcript=make_transcript(duration_ms=20_000))
    job.refresh_from_db()
    assert job.duration_ms == 20_000
    assert job.cost_micros == 1_667
    assert_books_are_true(organization)


def test_all_that_is_there_is_charged_when_it_does_not_cover_the_decoded_length(organization, job):
    Wallet.objects.update(balance_micros=900)
    jobs.finish_item(claim(job), transcript=make_transcript(duration_ms=20_000))
    job.refresh_from_db()
    assert job.cost_micros == 900
    assert statements.balance(organization).balance_micros == 0


def test_price_that_changes_meanwhile_is_for_the_next_job(organization, job, settings):
    settings.PRICES_PER_HOUR_MICROS = {"standard": 900_000}
    jobs.finish_item(claim(job), transcript=make_transcript())
    job.refresh_from_db()
    assert job.cost_micros == job.quoted_micros == TEN_SECONDS_MICROS


def test_one_recording_with_too_many_channels_refuses_the_batch(organization):
    media = [make_media(organization), make_media(organization)]
    media[1].channels = 99
    with pytest.raises(InvalidField):
        jobs.submit_batch(
            make_submission(organization, options=TranscriptionOptions(channels="split")),
            recordings=media,
            name="two",
        )


def test_only_items_that_succeeded_are_charged(organization):
    job = make_batch(organization, 3)
    first, second, third = job.items.all()
    finish(first)
    fail(second)
    job.refresh_from_db()
    assert (job.status, job.items_left, job.items_failed, job.progress) == (Status.PROCESSING, 1, 1, 66)
    finish(third)
    job.refresh_from_db()
    assert (job.status, job.cost_micros) == (Status.COMPLETED_WITH_ERRORS, 2 * TEN_SECONDS_MICROS)
    assert (job.error_type, job.duration_ms) == ("not_audio", 20_000)
    assert_books_are_true(organization)


def test_batch_without_any_success_costs_nothing(organization):
    job = make_batch(organization, 2)
    for item in job.items.all():
        fail(item)
    job.refresh_from_db()
    assert (job.status, job.cost_micros, job.items_failed) == (Status.FAILED, None, 2)
    assert usage(organization) == []
    assert statements.balance(organization).held_micros == 0


def test_cancel_charges_what_had_completed(organization):
    job = make_batch(organization, 3)
    first, second, _ = job.items.all()
    finish(first)
    jobs.claim(second.pk)
    jobs.cancel(job)
    assert (job.status, job.items_left, job.cost_micros) == (Status.COMPLETED_WITH_ERRORS, 0, TEN_SECONDS_MICROS)
    assert_books_are_true(organization)


def test_balance_that_pays_for_no_second_is_refused_before_a_recording_is_known(organization):
    jobs.require_funds(organization, model="premium")
    ledger.reserve(organization, amount_micros=statements.balance(organization).available_micros, reference="all")
    with pytest.raises(PaymentRequired):
        jobs.require_funds(organization, model="standard")
