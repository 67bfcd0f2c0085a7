"""Corrections of results: nothing is lost of the original or of two people, and all that reads a result sees them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from accounts.errors import Conflict, InvalidField, NotFound
from tests.contention import contend, wait_until_one_waits_for_us
from tests.transcription.factories import make_job, make_transcript
from tests.transcription.jobs import correct_together
from transcription import jobs
from transcription.jobs import Edit, search
from transcription.models import Job, JobItem, SegmentRevision, SpeakerName
from transcription.speech.formats import FORMATS
from transcription.speech.transcript import Segment, Transcript, Word


def dialogue() -> Transcript:
    """Four segments of one second: S1, S2, S1, S3."""
    said = [("good morning", "S1"), ("hello ana", "S2"), ("how are you", "S1"), ("fine", "S3")]
    segments = []
    for at, (text, speaker) in enumerate(said):
        words = tuple(
            Word(word, at * 1000 + n * 200, at * 1000 + n * 200 + 150, 0.9, speaker)
            for n, word in enumerate(text.split())
        )
        segments.append(Segment(at * 1000, at * 1000 + 900, text, words, speaker))
    return Transcript("en", None, 10_000, tuple(segments), "pocketsphinx", "clustering")


@pytest.fixture
def item(organization) -> JobItem:
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=dialogue())
    return job.items.get()


def now(item: JobItem) -> Transcript:
    return jobs.transcript_of_item(JobItem.objects.get(pk=item.pk))


def texts(item: JobItem) -> list[str]:
    return [segment.text for segment in now(item).segments]


def stored_file(item: JobItem) -> bytes:
    with default_storage.open(item.result_key, "rb") as file:
        return file.read()


def found_by(organization, phrase: str) -> int:
    return search.matching(Job.objects.of(organization), phrases=[phrase]).count()


def test_correction_is_in_the_result_and_the_original_stays(item, alice):
    stored = stored_file(item)
    assert jobs.revise(item, edits=[Edit(1, 0, "Hello, Anna.\n")], by=alice) == []
    assert texts(item) == ["good morning", "Hello, Anna.", "how are you", "fine"]
    assert stored_file(item) == stored
    assert jobs.original_of_item(item).segments[1].text == "hello ana"
    revision = SegmentRevision.objects.get()
    assert (revision.number, revision.created_by, revision.speaker) == (1, alice, "S2")


def test_corrections_of_one_sentence_are_all_kept(item, alice, bob):
    jobs.revise(item, edits=[Edit(0, 0, "Good morning")], by=alice)
    jobs.revise(item, edits=[Edit(0, 1, "Good morning!")], by=bob)
    jobs.revise(item, edits=[Edit(0, 2, "good morning")], by=alice)
    rows = SegmentRevision.objects.values_list("number", "text", "created_by")
    assert list(rows) == [(1, "Good morning", alice.pk), (2, "Good morning!", bob.pk), (3, "good morning", alice.pk)]


def test_text_that_is_as_it_was_makes_no_revision(item, alice):
    assert jobs.revise(item, edits=[Edit(0, 0, " good morning ")], by=alice) == []
    assert not SegmentRevision.objects.exists()


def test_second_person_is_told_and_nothing_is_lost(item, alice, bob):
    jobs.revise(item, edits=[Edit(1, 0, "hello Anna")], by=alice)
    assert jobs.revise(item, edits=[Edit(0, 0, "Good morning"), Edit(1, 0, "hello Ana")], by=bob) == [1]
    assert texts(item)[:2] == ["good morning", "hello Anna"]
    assert jobs.revise(item, edits=[Edit(0, 0, "Good morning"), Edit(1, 1, "hello Ana")], by=bob) == []
    assert texts(item)[:2] == ["Good morning", "hello Ana"]


@pytest.mark.django_db(transaction=True)
def test_of_many_who_save_at_once_all_but_one_are_told(organization, alice):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=dialogue())
    item = job.items.get()
    answers = contend(correct_together.save, item.pk, alice.pk, kind="threads")
    assert sorted(answers) == [[], *[[0]] * (len(answers) - 1)]
    assert SegmentRevision.objects.count() == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["save", "name"])
def test_who_corrects_waits_for_the_job_before_the_item(organization, alice, what):
    """Deletion has the job and then takes the item. Who holds the item while waiting for the job deadlocks with it."""
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=dialogue())
    item = job.items.get()
    with ThreadPoolExecutor(1) as pool:
        with jobs.lock_job(job.pk):
            saved = pool.submit(getattr(correct_together, f"{what}_alone"), item.pk, alice.pk)
            wait_until_one_waits_for_us()
            # Fails if somebody has it.
            JobItem.objects.select_for_update(nowait=True).get(pk=item.pk)
            jobs.delete(job)
        assert saved.result(30) == "Transcript not found."


def test_job_is_found_by_the_corrected_words_and_not_by_the_wrong_ones(organization, item, alice):
    assert found_by(organization, "hello ana") == 1
    jobs.revise(item, edits=[Edit(1, 0, "hello Anna")], by=alice)
    assert (found_by(organization, "hello ana"), found_by(organization, "hello anna")) == (0, 1)
    assert found_by(organization, "sentence slt") == 1


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"docx"}))
def test_every_format_has_corrections_and_names(item, alice, name):
    jobs.revise(item, edits=[Edit(1, 0, "hello Anna"), Edit(3, 0, "")], by=alice)
    jobs.name_speaker(item, speaker="S1", name="Dr. <Grey> & Co")
    text = FORMATS[name].render(now(item)).decode()
    assert "Anna" in text
    assert "fine" not in text
    if name != "tsv":
        escaped = {"vtt": "Dr. &lt;Grey&gt; &amp; Co", "srt": "Dr. ‹Grey› & Co"}
        assert escaped.get(name, "Dr. <Grey> & Co") in text
        assert "Speaker 1" not in text
    if name == "json":
        document = json.loads(text)
        assert document["speakers"][0] == {"id": "S1", "label": "Dr. <Grey> & Co", "seconds": 1.8}
        assert len(document["segments"]) == 3


@pytest.mark.parametrize(
    "edits",
    [[], [Edit(4, 0, "x")], [Edit(-1, 0, "x")], [Edit(0, 0, "x"), Edit(0, 0, "y")], [Edit(0, 0, "x" * 237)]],
    ids=["none", "beyond", "negative", "twice", "long"],
)
def test_wrong_edit_changes_nothing(item, alice, edits):
    with pytest.raises(InvalidField):
        jobs.revise(item, edits=edits, by=alice)
    assert not SegmentRevision.objects.exists()


def test_control_characters_are_left_out(item, alice):
    jobs.revise(item, edits=[Edit(0, 0, "good\x00\r\n \x1bmorning,\tana\x85")], by=alice)
    jobs.name_speaker(item, speaker="S1", name="An\x00\nna ")
    assert texts(item)[0] == "good morning, ana"
    assert now(item).label_of("S1") == "An na"


@pytest.mark.parametrize("blank", ["\u00a0", "\u202f", "\u3000", "  "])
def test_blanks_that_a_person_wrote_stay(item, alice, blank):
    jobs.revise(item, edits=[Edit(1, 0, f"good{blank}morning")], by=alice)
    jobs.revise(item, edits=[Edit(1, 1, f" good{blank}morning\n")], by=alice)
    assert texts(item)[1] == f"good{blank}morning"
    assert SegmentRevision.objects.count() == 1


def test_sentence_may_grow_with_its_original_and_not_without_end(item, alice):
    assert jobs.revise(item, edits=[Edit(0, 0, "x" * 236)], by=alice) == []
    # Not from what it has grown to.
    with pytest.raises(InvalidField):
        jobs.revise(item, edits=[Edit(0, 1, "x" * 237)], by=alice)


def test_speaker_is_named_and_gets_the_usual_label_back(item):
    jobs.name_speaker(item, speaker="S2", name="Anna")
    assert now(item).label_of("S2") == "Anna"
    jobs.name_speaker(item, speaker="S2", name="  ")
    assert now(item).label_of("S2") == "Speaker 2"


def test_speakers_are_merged_and_separated(item):
    jobs.merge_speakers(item, speaker="S3", into="S2")
    jobs.merge_speakers(item, speaker="S2", into="S1")
    assert [speaker for speaker, _ in now(item).speakers] == ["S1"]
    with pytest.raises(Conflict):
        jobs.merge_speakers(item, speaker="S1", into="S3")
    jobs.separate_speaker(item, speaker="S2")
    assert [segment.speaker for segment in now(item).segments] == ["S1", "S2", "S1", "S2"]


def test_sentences_are_given_to_another_and_to_a_new_speaker(item, alice):
    jobs.revise(item, edits=[Edit(2, 0, "How are you?")], by=alice)
    assert jobs.move(item, segments=[2], speaker="", by=alice) == "S4"
    assert jobs.move(item, segments=[3], speaker="S4", by=alice) == "S4"
    assert [segment.speaker for segment in now(item).segments] == ["S1", "S2", "S4", "S4"]
    assert texts(item)[2] == "How are you?"


def test_new_speaker_has_neither_the_name_nor_the_merge_of_an_abandoned_one(item, alice):
    assert jobs.move(item, segments=[2], speaker="", by=alice) == "S4"
    jobs.name_speaker(item, speaker="S4", name="Anna")
    jobs.move(item, segments=[2], speaker="S1", by=alice)
    assert jobs.move(item, segments=[3], speaker="", by=alice) == "S5"
    jobs.merge_speakers(item, speaker="S5", into="S1")
    jobs.move(item, segments=[3], speaker="S3", by=alice)
    assert jobs.move(item, segments=[1], speaker="", by=alice) == "S6"
    assert (now(item).segments[1].speaker, now(item).label_of("S6")) == ("S6", "Speaker 6")


def test_sentence_can_be_corrected_after_it_was_given_to_another_speaker(item, alice):
    jobs.move(item, segments=[2], speaker="S2", by=alice)
    jobs.revise(item, edits=[Edit(2, 1, "How are you?")], by=alice)
    assert (now(item).segments[2].speaker, texts(item)[2]) == ("S2", "How are you?")


@pytest.mark.parametrize(
    "act",
    [
        lambda item, by: jobs.name_speaker(item, speaker="S9", name="x"),
        lambda item, by: jobs.name_speaker(item, speaker="S1", name="x" * 81),
        lambda item, by: jobs.merge_speakers(item, speaker="S1", into="S9"),
        lambda item, by: jobs.move(item, segments=[9], speaker="S1", by=by),
        lambda item, by: jobs.move(item, segments=[0], speaker="S9", by=by),
    ],
)
def test_unknown_speaker_or_sentence_changes_nothing(item, alice, act):
    with pytest.raises(InvalidField):
        act(item, alice)
    assert not SpeakerName.objects.exists()
    assert not SegmentRevision.objects.exists()


def test_result_that_does_not_exist_cannot_be_corrected(organization, alice):
    job = make_job(organization)
    with pytest.raises(NotFound):
        jobs.revise(job.items.get(), edits=[Edit(0, 0, "x")], by=alice)


def test_corrections_go_with_their_job(item, alice):
    jobs.revise(item, edits=[Edit(0, 0, "x")], by=alice)
    jobs.name_speaker(item, speaker="S1", name="Anna")
    jobs.delete(item.job)
    assert not SegmentRevision.objects.exists()
    assert not SpeakerName.objects.exists()


def test_result_without_corrections_costs_no_query_more(item, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert jobs.transcript_of_item(item) == dialogue()
    assert make_transcript().speaker_names == ()
