"""Corrections on the page of a transcript: works, visitor, stranger, bad input, two people."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.transcription.factories import make_batch, make_job, make_transcript
from tests.transcription.pages.conftest import page_text
from transcription import jobs
from transcription.models import Job, JobItem, SegmentRevision, SpeakerName


@pytest.fixture
def done(job) -> Job:
    finish(job.items.get(), "good morning ana")
    return job


def finish(item: JobItem, text: str) -> None:
    jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))


def save(client: Client, job: Job, *edits: tuple, item: str = ""):
    body = {"edits": [dict(zip(("segment", "version", "text"), edit, strict=True)) for edit in edits]}
    return client.post(f"/transcripts/{job.pk}/sentences/{item}", json.dumps(body), content_type="application/json")


def change(client: Client, job: Job, **fields: str):
    return client.post(f"/transcripts/{job.pk}/speakers/", fields, follow=True)


def test_members_correction_is_saved_and_shown_with_its_times(bob, alice, done, client_of):
    answer = save(client_of(bob), done, (0, 0, "Good morning, Anna"))
    assert answer.status_code == 200
    assert answer.json() == {
        "lines": [
            {"segment": 0, "version": 1, "text": "Good morning, Anna", "words": "0,4,0,300 1,8,100,300 1,4,100,300"}
        ]
    }
    page = page_text(client_of(alice), f"/transcripts/{done.pk}/")
    assert "Good morning, Anna</span>" in page
    assert 'data-version="1"' in page
    download = client_of(alice).get(f"/transcripts/{done.pk}/download/txt/").content.decode()
    assert download == "Speaker 1: Good morning, Anna\n"


def test_second_person_gets_the_first_ones_text(alice, bob, done, client_of):
    save(client_of(alice), done, (0, 0, "Good morning, Anna"))
    refused = save(client_of(bob), done, (0, 0, "good morning Hannah"))
    assert refused.status_code == 409
    assert refused.json()["lines"][0]["text"] == "Good morning, Anna"
    assert save(client_of(bob), done, (0, 1, "good morning Hannah")).status_code == 200


def test_emptied_sentence_stays_on_the_page_and_can_be_written_again(alice, done, client_of):
    client = client_of(alice)
    save(client, done, (0, 0, ""))
    assert client.get(f"/transcripts/{done.pk}/download/txt/").content == b""
    assert 'data-version="1"' in page_text(client, f"/transcripts/{done.pk}/")
    save(client, done, (0, 1, "good morning"))
    assert b"good morning" in client.get(f"/transcripts/{done.pk}/download/txt/").content


@pytest.mark.long
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"edits": 1}',
        b'{"edits": [1]}',
        b'{"edits": [{"segment": 0, "version": 0}]}',
        b'{"edits": [{"segment": true, "version": 0, "text": "x"}]}',
        b'{"edits": [{"segment": 0, "version": "0", "text": "x"}]}',
        b'{"edits": [{"segment": 0, "version": 0, "text": null}]}',
        b'{"edits": [{"segment": 0, "version": 0, "text": "\\ud800"}]}',
        b'{"edits": [{"segment": 99, "version": 0, "text": "x"}]}',
        b'{"edits": []}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_body_that_is_no_edit_is_refused(alice, done, client_of, body):
    address = f"/transcripts/{done.pk}/sentences/"
    answer = client_of(alice).post(address, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["message"]
    assert not SegmentRevision.objects.exists()


@pytest.mark.long
@pytest.mark.parametrize("name", ["sentences", "speakers"])
def test_visitor_and_stranger_correct_nothing(done, charlie, client_of, name):
    address = f"/transcripts/{done.pk}/{name}/"
    whole = f"/o/{done.organization_id}{address}"
    body = {"act": "rename", "speaker": "S1", "name": "x"}
    assert Client().post(whole, body).status_code == 302
    assert client_of(charlie).post(address, body).status_code == 404
    assert client_of(charlie).post(whole, body).status_code == 404
    assert client_of(charlie).get(address).status_code == 405
    assert Client(enforce_csrf_checks=True).post(whole, body).status_code == 403
    assert not SpeakerName.objects.exists()


def test_running_job_has_nothing_to_correct(alice, job, client_of):
    assert save(client_of(alice), job, (0, 0, "x")).status_code == 404
    assert change(client_of(alice), job, act="rename", speaker="S1", name="x").status_code == 404


def test_recording_of_a_batch_is_named_by_its_position(alice, organization, client_of):
    batch = make_batch(organization, 2)
    for item in batch.items.all():
        finish(item, "hello")
    client = client_of(alice)
    assert save(client, batch, (0, 0, "x")).status_code == 404
    assert save(client, batch, (0, 0, "x"), item="?item=3").status_code == 404
    assert save(client, batch, (0, 0, "Hello."), item="?item=2").status_code == 200
    assert [jobs.transcript_of_item(item).text for item in batch.items.all()] == ["hello", "Hello."]
    assert f"/o/{batch.organization_id}/transcripts/{batch.pk}/sentences/?item=2" in page_text(
        client, f"/transcripts/{batch.pk}/?item=2"
    )


def test_name_of_a_speaker_is_in_the_page_and_in_downloads(alice, done, client_of):
    shown = change(client_of(alice), done, act="rename", speaker="S1", name="<b>Anna</b>").content.decode()
    assert "&lt;b&gt;Anna&lt;/b&gt;" in shown
    assert "<b>Anna</b>" not in shown
    download = client_of(alice).get(f"/transcripts/{done.pk}/download/txt/").content.decode()
    assert download == "<b>Anna</b>: good morning ana\n"


@pytest.mark.long
def test_sentences_go_to_somebody_new_who_is_merged_and_separated(alice, done, client_of):
    client = client_of(alice)
    assert "Dr. Grey" in change(client, done, act="move", segments="0", speaker="", name="Dr. Grey").content.decode()
    shown = change(client, done, act="merge", speaker="S2", into="S1").content.decode()
    assert "Dr. Grey is merged into Speaker 1." in shown
    shown = change(client, done, act="separate", speaker="S2").content.decode()
    assert "is merged into" not in shown


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"act": "rename", "speaker": "S9", "name": "x"}, "The transcript has no such speaker."),
        ({"act": "merge", "speaker": "S1", "into": "S1"}, "These are one speaker already."),
        ({"act": "move", "segments": "x", "speaker": "S1"}, "The transcript has no such sentence."),
        ({"act": "move", "segments": "", "speaker": "S1"}, "The transcript has no such sentence."),
        ({}, "Choose what to do with the speaker."),
    ],
)
def test_wrong_change_of_speakers_says_why(alice, done, client_of, fields, said):
    assert said in change(client_of(alice), done, **fields).content.decode()
    assert not SpeakerName.objects.exists()


@pytest.mark.long
def test_corrections_take_two_queries_whatever_their_number(alice, organization, client_of, django_assert_num_queries):
    job = make_job(organization)
    finish(job.items.get(), "hello")
    client = client_of(alice)
    address = f"/transcripts/{job.pk}/"
    page_text(client, address)
    with CaptureQueriesContext(connection) as before:
        page_text(client, address)
    count = len(before)  # The next request empties the list.
    for version in range(5):
        save(client, job, (0, version, f"Hello {version}."))
    with django_assert_num_queries(count + 2):
        page_text(client, address)
