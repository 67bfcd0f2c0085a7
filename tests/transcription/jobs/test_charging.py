"""What jobs cost: the price of each recording, one charge at the end, nothing for work that failed."""

import uuid
from dataclasses import replace
from datetime import UTC

import pytest
from django.utils import timezone

from accounts.errors import InvalidField, PaymentRequired
from billing import ledger, ledger_reader, statements
from billing import usage as billing_usage
from billing.models import EntryKind, Wallet
from tests.contention import contend
from tests.transcription.factories import make_batch, make_job, make_media, make_submission, make_transcript
from tests.transcription.jobs.show_and_end import show_or_end
from tests.transcription.jobs.single_jobs import TEN_SECONDS_MICROS, claim, item_of, usage
from transcription import jobs
from transcription.jobs import audit
from transcription.jobs.charging import TextMeter
from transcription.models import JobItem, Media, Status
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment


def finish(item):
    assert jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript())


def fail(item):
    jobs.reject_item(jobs.claim(item.pk), error_type="not_audio", message="No audio.")


def show(item, *, end_ms, speaker=None):
    """Show text of an item up to this position, as a worker measures it and a watcher records it."""
    meter = TextMeter(JobItem.objects.select_related("job", "media").get(pk=item.pk))
    meter.add(Segment(0, end_ms, "text", (), speaker))
    return jobs.record_shown(item.pk, length_ms=meter.length_ms, price_micros=meter.price_micros)


def assert_books_are_true(organization):
    assert ledger.verify(ledger.wallet_of(organization)) == []
    assert list(audit.orphaned_holds()) == []
    assert list(audit.unpaid_texts()) == []


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


def test_line_of_the_ledger_has_the_number_of_channels_and_no_name(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).update(channels=2, name="secret.wav")
    media.refresh_from_db()
    options = TranscriptionOptions(channels="split")
    job = jobs.submit(make_submission(organization, options=options), media=media)
    jobs.finish_item(claim(job), transcript=make_transcript())
    [entry] = usage(organization)
    assert entry.description == "Transcription (2 channels)"
    assert "secret" not in str(entry.details)


def test_name_stands_beside_the_line_for_as_long_as_there_is_the_job(organization, job, charlies):
    jobs.finish_item(claim(job), transcript=make_transcript())
    rows = ledger_reader.entries(organization, limit=10)
    charge = next(row for row in rows if row.kind == EntryKind.USAGE)
    assert ledger_reader.descriptions(rows)[charge.pk] == "Transcription: sentence-slt.wav"
    assert "Transcription: sentence-slt.wav" in "".join(ledger_reader.csv_lines(organization))
    jobs.delete(job)
    assert ledger_reader.descriptions(rows)[charge.pk] == "Transcription"
    assert "sentence-slt" not in "".join(ledger_reader.csv_lines(organization))


def test_names_are_asked_for_jobs_alone(job):
    references = [job.hold_reference, "chat:1", "job:none", "job:", "topup:7", f"job:{uuid.uuid4()}"]
    assert jobs.names_of_references(references) == {job.hold_reference: job.name}
    assert jobs.names_of_references([]) == {}


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


# --- Text that was shown while the work ran --------------------------------------------------------------------------


def test_canceled_job_costs_what_was_shown(organization, job):
    item = claim(job)
    assert show(item, end_ms=4_200)
    jobs.cancel(job)
    assert (job.status, job.cost_micros) == (Status.CANCELED, 417)  # 5 s
    [entry] = usage(organization)
    assert entry.amount_micros == -417
    assert entry.description == "Transcription (canceled, text of 0:00:05 shown)"
    assert (entry.details["duration_ms"], entry.details["channels"]) == (4_200, 1)
    assert statements.balance(organization).held_micros == 0
    # The job is still one of a recording of 10 s.
    assert job.duration_ms == 10_000
    assert_books_are_true(organization)


def test_text_that_is_shown_after_the_end_has_no_price_and_must_not_leave(organization, job):
    item = claim(job)
    jobs.cancel(job)
    assert not show(item, end_ms=10_000)
    assert usage(organization) == []
    assert_books_are_true(organization)


def test_text_of_a_deleted_job_must_not_leave(job):
    item = claim(job)
    jobs.delete(job)
    assert not jobs.record_shown(item.pk, length_ms=10_000, price_micros=TEN_SECONDS_MICROS)


def test_deleted_job_costs_what_was_shown(organization, job):
    assert show(claim(job), end_ms=10_000)
    jobs.delete(job)
    assert [entry.amount_micros for entry in usage(organization)] == [-TEN_SECONDS_MICROS]
    assert_books_are_true(organization)


def test_canceled_job_that_nobody_watched_costs_nothing(organization, job):
    claim(job)
    jobs.cancel(job)
    assert (job.cost_micros, usage(organization)) == (None, [])


def test_completed_job_costs_no_more_for_being_watched(organization, job):
    item = claim(job)
    assert show(item, end_ms=9_000)
    jobs.finish_item(item, transcript=make_transcript())
    job.refresh_from_db()
    assert job.cost_micros == TEN_SECONDS_MICROS
    # Its text is paid, so a watcher that is late still gets it.
    assert show(item, end_ms=10_000)
    assert [entry.amount_micros for entry in usage(organization)] == [-TEN_SECONDS_MICROS]
    assert usage(organization)[0].description == "Transcription"


def test_file_that_fails_by_its_senders_doing_costs_what_was_shown(organization, job):
    item = claim(job)
    assert show(item, end_ms=9_500)
    jobs.reject_item(item, error_type="length_mismatch", message="The recording is longer than its file says.")
    job.refresh_from_db()
    assert (job.status, job.error_type, job.cost_micros) == (Status.FAILED, "length_mismatch", TEN_SECONDS_MICROS)
    assert usage(organization)[0].description == "Transcription (failed, text of 0:00:10 shown)"
    assert_books_are_true(organization)


def test_text_beyond_the_stated_length_is_paid_too(organization, job):
    """A header of 10 s over 15 s: the hold is extended, as for a job that completes."""
    item = claim(job)
    assert show(item, end_ms=14_900)
    jobs.reject_item(item, error_type="length_mismatch", message="The recording is longer than its file says.")
    job.refresh_from_db()
    assert job.cost_micros == 1_250 > job.quoted_micros
    assert_books_are_true(organization)


def test_text_beyond_the_stated_length_takes_no_more_than_there_is(organization, job):
    Wallet.objects.update(balance_micros=900)
    item = claim(job)
    assert show(item, end_ms=14_900)
    jobs.cancel(job)
    assert job.cost_micros == 900
    assert statements.balance(organization).balance_micros == 0
    assert list(audit.unpaid_texts()) == []


def test_text_that_ends_within_a_second_of_the_probed_length_costs_no_more_than_the_job(organization, job):
    assert show(claim(job), end_ms=10_900)
    jobs.cancel(job)
    assert job.cost_micros == job.quoted_micros == TEN_SECONDS_MICROS


def test_failure_of_the_site_is_free_whatever_was_shown(organization, job, settings):
    for _ in range(settings.JOB_ATTEMPTS):
        item = claim(job)
        assert show(item, end_ms=10_000)
        jobs.fail_item(item, error_type="internal_error", message="Something went wrong on our side.")
    job.refresh_from_db()
    assert (job.status, job.cost_micros) == (Status.FAILED, None)
    assert usage(organization) == []
    assert statements.balance(organization).held_micros == 0
    assert not show(item, end_ms=10_000)
    assert_books_are_true(organization)


def test_text_that_is_shown_again_by_another_attempt_is_paid_once(organization, job):
    first = claim(job)
    assert show(first, end_ms=6_000)
    jobs.fail_item(first, error_type="engine_unavailable", message="No engine.")
    # It waits for the next attempt: the text of the first can still be read.
    assert show(first, end_ms=8_000)
    assert show(claim(job), end_ms=2_000)
    jobs.cancel(job)
    assert job.cost_micros == 667  # 8 s
    assert_books_are_true(organization)


def test_job_that_is_canceled_between_two_attempts_costs_what_was_shown(organization, job):
    item = claim(job)
    assert show(item, end_ms=6_000)
    jobs.fail_item(item, error_type="engine_unavailable", message="No engine.")
    jobs.cancel(job)
    assert job.cost_micros == 500


def test_text_costs_what_was_quoted_when_the_price_changes_meanwhile(organization, job, settings):
    settings.PRICES_PER_HOUR_MICROS = {"standard": 900_000}
    assert show(claim(job), end_ms=10_000)
    jobs.cancel(job)
    assert job.cost_micros == TEN_SECONDS_MICROS


def test_each_channel_is_paid_as_far_as_it_was_shown(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).update(channels=2)
    media.refresh_from_db()
    job = jobs.submit(make_submission(organization, options=TranscriptionOptions(channels="split")), media=media)
    meter = TextMeter(claim(job))
    item = item_of(job)
    # One channel after the other; the second begins at 0 again.
    costs = []
    for end_ms, speaker in ((3_000, "S1"), (10_000, "S1"), (2_500, "S2"), (10_000, "S2")):
        meter.add(Segment(0, end_ms, "text", (), speaker))
        assert jobs.record_shown(item.pk, length_ms=meter.length_ms, price_micros=meter.price_micros)
        item.refresh_from_db()
        costs.append((item.shown_ms, item.shown_micros))
    assert costs == [(3_000, 250), (10_000, 833), (10_000, 833 + 250), (10_000, 2 * TEN_SECONDS_MICROS)]
    jobs.cancel(job)
    assert job.cost_micros == job.quoted_micros == 2 * TEN_SECONDS_MICROS
    assert usage(organization)[0].description.endswith("(2 channels, canceled, text of 0:00:10 shown)")
    assert_books_are_true(organization)


def test_canceled_batch_costs_what_completed_and_what_was_shown(organization):
    job = make_batch(organization, 4)
    first, second, third, _ = job.items.all()
    finish(first)
    jobs.claim(second.pk)
    assert show(second, end_ms=6_000)
    jobs.claim(third.pk)
    jobs.cancel(job)
    assert (job.status, job.cost_micros) == (Status.COMPLETED_WITH_ERRORS, TEN_SECONDS_MICROS + 500)
    assert job.duration_ms == 16_000
    assert [item.cost_micros for item in job.items.all()] == [TEN_SECONDS_MICROS, 500, 0, 0]
    [entry] = usage(organization)
    assert entry.details["duration_ms"] == 16_000
    assert_books_are_true(organization)


def test_batch_without_any_success_costs_what_was_shown(organization):
    job = make_batch(organization, 2)
    first, second = job.items.all()
    claimed = jobs.claim(first.pk)
    assert show(first, end_ms=6_000)
    jobs.reject_item(claimed, error_type="not_audio", message="No audio.")
    fail(second)
    job.refresh_from_db()
    assert (job.status, job.cost_micros) == (Status.FAILED, 500)
    assert_books_are_true(organization)


def test_deleted_batch_pays_for_transcripts_that_could_be_read(organization):
    job = make_batch(organization, 2)
    first, _ = job.items.all()
    finish(first)
    assert jobs.transcript_of_item(job.items.first()).text == "hello"
    jobs.delete(job)
    assert [entry.amount_micros for entry in usage(organization)] == [-TEN_SECONDS_MICROS]


def test_usage_shows_what_was_paid_for_shown_text(organization, job):
    assert show(claim(job), end_ms=4_200)
    jobs.cancel(job)
    today = timezone.now().astimezone(UTC).date()
    report = billing_usage.report(organization, since=today, until=today)
    assert (report.total.charges_count, report.total.cost_micros, report.total.audio_ms) == (1, 417, 4_200)
    assert list(report.by_model) == ["standard"]


def test_shortest_text_costs_a_second(job):
    meter = TextMeter(claim(job))
    assert (meter.length_ms, meter.price_micros) == (0, 0)
    meter.add(Segment(0, 0, "text", (), None))
    assert meter.price_micros == 83


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["cancel", "delete", "reject"])
def test_what_was_shown_before_the_end_is_what_is_charged_also_at_the_same_moment(organization, how):
    job = make_job(organization, duration_ms=3_600_000)
    item = claim(job)
    shown_micros = max(contend(show_or_end, how, item.pk, kind="processes", worker_count=4))
    assert 0 < shown_micros < job.quoted_micros
    assert [-entry.amount_micros for entry in usage(organization)] == [shown_micros]
    assert_books_are_true(organization)


@pytest.mark.parametrize(("duration_ms", "price_micros"), [(7_200_000, 2_500), (10_000, TEN_SECONDS_MICROS)])
def test_language_alone_costs_half_a_minute_at_most(organization, duration_ms, price_micros):
    """Held and charged, wherever in the recording the first speech was found."""
    job = make_job(organization, duration_ms=duration_ms, options=TranscriptionOptions(only_language=True))
    assert job.quoted_micros == price_micros
    heard = replace(make_transcript(duration_ms=min(duration_ms, 600_000)), segments=())
    assert jobs.finish_item(claim(job), transcript=heard)
    [entry] = usage(organization)
    assert (-entry.amount_micros, entry.description) == (price_micros, "Language detection")
    job.refresh_from_db()
    assert (job.status, job.cost_micros) == (Status.COMPLETED, price_micros)


@pytest.mark.parametrize(("channels", "seconds"), [("mix", 11), ("split", 33)])
def test_ledger_says_how_many_seconds_were_billed(organization, channels, seconds):
    """Each begun one, of each channel apart: what the price is made of."""
    media = make_media(organization, duration_ms=10_200)
    Media.objects.filter(pk=media.pk).update(channels=3)
    media.refresh_from_db()
    job = jobs.submit(make_submission(organization, options=TranscriptionOptions(channels=channels)), media=media)
    assert jobs.finish_item(claim(job), transcript=make_transcript(duration_ms=10_200))
    job.refresh_from_db()
    assert usage(organization)[0].details["billed_seconds"] == jobs.billed_seconds(job) == seconds
    assert jobs.billed_seconds_of(job.items.get()) == seconds


def test_seconds_of_a_batch_are_those_of_its_transcripts(organization):
    batch = make_batch(organization, 3)
    for item in batch.items.all()[:2]:
        finish(item)
    fail(batch.items.all()[2])
    assert jobs.billed_seconds(batch) == sum(-(-item.duration_ms // 1000) for item in batch.items.all()[:2])
    assert jobs.billed_seconds(batch) == sum(map(jobs.billed_seconds_of, batch.items.all()))
