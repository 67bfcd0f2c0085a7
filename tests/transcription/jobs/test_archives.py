"""The results of a batch as one answer: all of them, in their order, and one in memory at a time."""

import gc
import io
import zipfile
from collections import Counter

import pytest
from django.core.files.storage import default_storage

from tests.transcription.factories import make_batch, make_transcript
from transcription import jobs
from transcription.jobs import archives
from transcription.models import Media
from transcription.speech.formats.options import DEFAULT


def finish(item, text="hello"):
    jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))


@pytest.fixture
def batch(organization):
    """Three recordings: one with a transcript, one that failed, one with another transcript and an odd name."""
    job = make_batch(organization, 3)
    first, second, third = job.items.all()
    finish(first, "first words")
    jobs.reject_item(jobs.claim(second.pk), error_type="not_audio", message="This is no audio.")
    finish(third, "third words")
    Media.objects.filter(pk=third.media_id).update(name="SENTENCE-slt.mp3")
    job.refresh_from_db()
    return job


def unpacked(job, format_name="txt"):
    content = b"".join(archives.zip_of([job], format_names=[format_name], options=DEFAULT))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_results_come_in_the_order_of_the_items(batch):
    found = [(item.position, transcript and transcript.text) for item, transcript in archives.results(batch)]
    assert found == [(0, "first words"), (1, None), (2, "third words")]


def test_archive_has_a_file_for_each_transcript_and_says_which_recordings_have_none(batch):
    files = unpacked(batch)
    assert list(files) == ["sentence-slt.txt", "SENTENCE-slt (2).txt", "not transcribed.txt"]
    assert "first words" in files["sentence-slt.txt"]
    assert "third words" in files["SENTENCE-slt (2).txt"]
    assert files["not transcribed.txt"] == "sentence-slt.wav: This is no audio.\n"


def test_names_that_are_alike_are_numbered_in_their_order():
    names = archives.FreeNames(archives.REFUSALS_NAME)
    stems = ["talk", "Talk (2)", "TALK", "talk", "not transcribed", "talk (4)", "talk", "talk (4)"]
    assert [names.take(stem, "txt") for stem in stems] == [
        "talk.txt",
        "Talk (2).txt",
        "TALK (3).txt",
        "talk (4).txt",
        "not transcribed (2).txt",
        "talk (4) (2).txt",
        "talk (5).txt",
        "talk (4) (3).txt",
    ]


def test_each_of_ten_thousand_names_alike_costs_the_same():
    """Counted from 2 each time, they took 50 million looks, and 12 s."""
    tried = Counter()

    class Counting(archives.FreeNames):
        def is_taken(self, name):
            tried["names"] += 1
            return super().is_taken(name)

    names = Counting()
    made = [names.take(stem, "txt") for _ in range(5_000) for stem in ("talk", "TALK")]
    assert made[-1] == "TALK (10000).txt"
    assert len({name.lower() for name in made}) == 10_000
    assert tried["names"] <= 3 * 10_000


@pytest.mark.parametrize("format_name", ["srt", "vtt", "json", "tsv"])
def test_archive_has_the_format_that_was_asked_for(batch, format_name):
    assert f"sentence-slt.{format_name}" in unpacked(batch, format_name)


def test_result_that_is_gone_from_storage_is_told(batch):
    default_storage.delete(batch.items.first().result_key)
    assert list(unpacked(batch)) == ["SENTENCE-slt.txt", "not transcribed.txt"]


def test_archive_is_made_in_pieces(organization, monkeypatch):
    job = make_batch(organization, 10)
    for item in job.items.all():
        finish(item)
    job.refresh_from_db()
    opened = []
    real = archives.transcript_of_item
    monkeypatch.setattr(archives, "transcript_of_item", lambda item: (opened.append(item), real(item))[1])
    pieces = archives.zip_of([job], format_names=["txt"], options=DEFAULT, piece_bytes=200)
    assert next(pieces)
    assert 0 < len(opened) < 10


def test_what_zipfile_knows_of_each_file_is_not_held(batch):
    held = []

    def many():
        for _ in range(5):
            held.append(sum(type(each) is zipfile.ZipInfo for each in gc.get_objects()))
            yield batch

    content = b"".join(archives.zip_of(many(), format_names=["txt"], options=DEFAULT))
    assert max(held) - held[0] <= 2
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == 2 * 5 + 1


def test_short_parts_are_joined():
    assert list(archives.pieces(iter([b"ab", b"c", b"de", b"f"]), piece_bytes=4)) == [b"abcde", b"f"]
