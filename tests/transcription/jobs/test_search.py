"""Jobs are found by words of their transcripts and names, the same on both databases."""

import threading
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection, transaction

from tests.transcription.factories import make_batch, make_job, make_media, make_submission, make_transcript
from transcription import jobs
from transcription.jobs import search
from transcription.models import Job, Media, SearchText
from transcription.recordings import uploads


def finish(job, *texts):
    for item, text in zip(job.items.all(), texts, strict=True):
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))
    return job


def found(*phrases):
    return set(search.matching(Job.objects.all(), phrases=phrases))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", "hello world"),
        ("call_2026-03.wav", "call 2026 03 wav"),
        ("don't", "don t"),
        ("STRASSE Straße", "strasse strasse"),
        ("ﬁne", "fine"),
        ("今天 ok", "今 天 ok"),
        ("हिन्दी", "हिन्दी"),
        ("…", ""),
        ("x" * 100, "x" * 60),
    ],
)
def test_text_becomes_words_in_lower_case(text, words):
    assert search.normalized(text) == words


def test_words_of_the_transcript_find_the_job(organization):
    job = finish(make_job(organization), "Good morning, Mrs. O'Brien. It costs 3.50 dollars.")
    other = finish(make_job(organization), "Good evening.")
    assert found("good") == {job, other}
    for phrase in ("MORNING", "o'brien", "3.50", "good morning mrs", "It costs"):
        assert found(phrase) == {job}, phrase
    for phrase in ("morn", "morning good", "brien o", "5.30"):
        assert found(phrase) == set(), phrase


def test_every_phrase_must_be_there(organization):
    job = finish(make_job(organization), "the late invoice of march")
    assert found("invoice", "late", "march") == {job}
    assert found("invoice", "april") == set()
    assert found("late invoice", "of march") == {job}
    assert found("late march") == set()


def test_name_finds_the_job_before_it_is_transcribed_and_after(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).update(name="Interview_Müller-2026.mp3")
    media.refresh_from_db()
    job = jobs.submit(make_submission(organization), media=media)
    assert found("interview") == found("müller") == found("Interview_Müller-2026.mp3") == {job}
    finish(job, "hello there")
    assert found("interview", "hello") == {job}


def test_announced_file_finds_its_job(organization):
    upload = uploads.begin(organization, name="board meeting.wav", declared_bytes=5)
    job = jobs.submit_uploads(make_submission(organization), uploads=[upload], name="board meeting.wav")
    assert found("board meeting") == {job}


def test_operators_find_a_job_by_its_name_and_not_by_what_was_said(organization):
    job = make_job(organization)
    finish(job, "xylophone")
    name = job.name
    assert search.jobs_named(name) == [job.pk]
    assert search.jobs_named(name.upper()) == [job.pk]
    for other in ("xylophone", "no such name", "...", "", "\0"):
        assert search.jobs_named(other) == []


def test_batch_is_found_by_its_name_and_by_each_of_its_transcripts(organization):
    job = finish(make_batch(organization, 2), "first call", "second talk")
    assert found("2 calls") == found("first") == found("second talk") == found("first", "second") == {job}
    assert found("call second") == set()


@pytest.mark.parametrize(
    ("text", "phrase", "other"),
    [
        ("今天天气很好", "天气", "气天"),
        ("สวัสดีครับ", "ครับ", "รคับ"),
        ("こんにちは世界", "世界", "界世"),
        ("नमस्ते दुनिया", "दुनिया", "दुनि"),
        ("مرحبا بالعالم", "بالعالم", "العالم"),
    ],
)
def test_scripts_without_blanks_are_found_too(organization, text, phrase, other):
    job = finish(make_job(organization), text)
    assert found(phrase) == {job}
    assert found(other) == set()


def test_long_transcript_is_found_to_its_end(organization):
    """A tsvector would count no places beyond 16,383."""
    words = [f"w{number}" for number in range(20_000)]
    job = finish(make_job(organization), " ".join(words))
    for first in (0, search.STRETCH_WORDS - 2, search.STRETCH_WORDS, 16_383, 19_998):
        assert found(f"{words[first]} {words[first + 1]}") == {job}
    assert found("w19999 w0") == set()


def test_stretches_overlap_and_have_every_word():
    words = [str(number) for number in range(10_000)]
    stretches = [stretch.split() for stretch in search.stretches(make_transcript(" ".join(words)))]
    assert max(map(len, stretches)) <= search.STRETCH_WORDS
    assert stretches[0] + [word for one in stretches[1:] for word in one[search.OVERLAP_WORDS :]] == words
    assert [len(one.split()) for one in search.stretches(make_transcript("short text"))] == [2]
    assert search.stretches(make_transcript("")) == []


def test_frequent_word_is_found_in_a_phrase_at_the_end_of_a_stretch(organization):
    """A tsvector keeps 255 places of a word. Every twentieth word is "the", about as often as in English."""
    words = ["the" if number % 20 == 0 else f"w{number}" for number in range(search.STRETCH_WORDS)]
    job = finish(make_job(organization), " ".join(words))
    assert found(" ".join(words[search.STRETCH_WORDS - 20 : search.STRETCH_WORDS - 18])) == {job}


@pytest.mark.long
def test_worst_text_does_not_keep_a_job_from_its_end(organization):
    """Different words of the greatest length, four bytes each character: the tsvector of a stretch may have 1 MB."""
    letters = [chr(0x10400 + number) for number in range(40)]
    words = [
        "".join(letters[(number // 40**place) % 40] for place in range(4)) + letters[0] * 60 for number in range(9_000)
    ]
    job = finish(make_job(organization), " ".join(words))
    job.refresh_from_db()
    assert job.is_completed
    assert found(words[0]) == {job}


def test_words_go_with_their_job(organization):
    job = finish(make_job(organization), "hello there")
    assert SearchText.objects.exists()
    jobs.delete(job)
    assert not SearchText.objects.exists()
    assert found("hello") == set()


def test_work_that_was_superseded_leaves_no_words(organization):
    job = make_job(organization)
    item = jobs.claim(job.items.get().pk)
    jobs.cancel(job)
    assert not jobs.finish_item(item, transcript=make_transcript("hello there"))
    assert found("hello") == set()


def test_frequent_and_rare_phrases_are_found_alike(organization, charlies):
    """PostgreSQL is asked in two ways. A phrase of two stretches is frequent here."""

    def found(*phrases, of=Job.objects.all()):  # noqa: B008 - a query set that is not run
        return set(search.matching(of, phrases=phrases, max_rare_stretches=1))

    first, second = (finish(make_job(organization), f"common {name}") for name in ("one", "two"))
    theirs = finish(make_job(charlies), "common three")
    assert found("common") == {first, second, theirs}
    assert found("one") == found("common", "one") == found("one", "common") == {first}
    assert found("one", "two") == set()
    own = Job.objects.of(organization)
    assert found("common", of=own) == {first, second}
    assert found("three", of=own) == set()


@pytest.mark.django_db(transaction=True)
def test_phrase_that_is_not_looked_up_in_time_is_found_without_the_lookup(organization):
    """Two frequent words that never stand together would have PostgreSQL read every text of the site with both."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite looks nothing up beforehand")
    job = finish(make_job(organization), "good morning")
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE transcription_searchtext")
        with connection.cursor() as cursor:
            # A search that waits for the lock for ever shall fail.
            cursor.execute("SET lock_timeout = '20s'")
        matching = search.matching(Job.objects.all(), phrases=["good morning"])
        other.rollback()
        assert set(matching) == {job}
    finally:
        other.close()
        connection.close()


def test_search_leaves_the_limits_of_its_connection_as_they_were(organization):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such limits")
    job = finish(make_job(organization), "good morning")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        limit = cursor.fetchone()
        assert found("morning") == {job}
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == limit


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_names_of_earlier_jobs_are_recorded_while_jobs_are_deleted(organization, monkeypatch):
    """What the migration has read may be gone when it writes. A second run, after a broken one, changes nothing."""
    migration = import_module("transcription.migrations.0012_names_of_earlier_jobs")
    monkeypatch.setattr(migration, "BATCH_SIZE", 4)
    made = [make_job(organization) for _ in range(60)]
    SearchText.objects.all().delete()
    faults = []

    def delete():
        try:
            for job in made[::2]:
                jobs.delete(job)
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    deleting = threading.Thread(target=delete)
    deleting.start()
    migration.record_names(apps, None)
    deleting.join()
    assert faults == []
    kept = {job.pk for job in made[1::2]}
    assert (
        set(SearchText.objects.values_list("job", flat=True)) == set(Job.objects.values_list("pk", flat=True)) == kept
    )
    before = list(SearchText.objects.order_by("pk").values())
    migration.record_names(apps, None)
    assert list(SearchText.objects.order_by("pk").values()) == before
    assert found(*search.normalized(made[1].name).split()) == set(made[1::2])
