"""Transcripts at addresses that say their format."""

import io
import json

import pytest
from asgiref.sync import async_to_sync
from docx import Document

from tests.transcription.dialects.native.test_uploads import error_of
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.dialects.native import result_views
from voxsite import api_reference


@pytest.fixture
def ended(organization):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("hello there"))
    job.refresh_from_db()
    return job


@pytest.mark.parametrize("name", [*result_views.TEXT_FORMATS, "json"])
def test_address_with_an_extension_answers_as_the_query_does(api, ended, name):
    path = f"/v1/jobs/{ended.pk}/result"
    by_path, by_query = api.get(f"{path}.{name}"), api.get(path, format=name)
    assert by_path.status_code == 200
    assert by_path.content == by_query.content
    assert by_path["Content-Type"] == by_query["Content-Type"]
    assert "hello" in by_path.content.decode()


def test_document_has_title_corrections_and_names_at_both_addresses(api, ended, alice):
    jobs.revise(ended.items.get(), edits=[jobs.Edit(0, 0, "Hello, <there>!")], by=alice)
    jobs.name_speaker(ended.items.get(), speaker="S1", name="Anna")
    path = f"/v1/jobs/{ended.pk}/result"
    for response in (api.get(f"{path}.docx"), api.get(path, format="docx")):
        assert response["Content-Type"].endswith("wordprocessingml.document")
        assert response["Content-Disposition"] == f'attachment; filename="{ended.pk}.docx"'
        texts = [paragraph.text for paragraph in Document(io.BytesIO(response.content)).paragraphs]
        assert texts == [ended.name, "Length 0:10", "Anna  0:00", "Hello, <there>!"]
    original = api.get(f"{path}.docx", original="true", timestamps="false", speaker_labels="false")
    assert [one.text for one in Document(io.BytesIO(original.content)).paragraphs][2:] == ["hello there"]
    assert Document(io.BytesIO(original.content)).paragraphs[0].text == ended.name


def test_extension_takes_the_options_of_its_format(api, ended):
    path = f"/v1/jobs/{ended.pk}/result"
    options = {"max_lines": 1, "max_chars_per_line": 20}
    assert api.get(f"{path}.vtt", **options).content == api.get(path, format="vtt", **options).content
    assert error_of(api.get(f"{path}.txt", max_lines=1)) == (400, "invalid_field")
    # The path has said it already.
    assert api.get(f"{path}.txt", format="srt").content == api.get(path, format="txt").content


@pytest.mark.parametrize("name", ["pdf", "srt.txt", "%00"])
def test_unknown_extension_is_refused(api, ended, name):
    assert error_of(api.get(f"/v1/jobs/{ended.pk}/result.{name}")) == (400, "invalid_field")


def test_transcript_of_a_stranger_is_not_found(stranger, ended):
    for name in result_views.TEXT_FORMATS:
        assert stranger.get(f"/v1/jobs/{ended.pk}/result.{name}").status_code == 404


def test_batch_needs_the_item(api, organization):
    job = make_batch(organization, 2)
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(f"words {item.position}"))
    assert error_of(api.get(f"/v1/jobs/{job.pk}/result.srt")) == (409, "several_results")
    assert "words 1" in api.get(f"/v1/jobs/{job.pk}/result.srt", item=2).content.decode()


def test_no_success_of_native_addresses_has_a_text_beside_an_object():
    """A generated client reads all answers of one status alike: it would read subtitles as JSON."""
    for path, methods in api_reference.document()["paths"].items():
        if not path.startswith("/v1/jobs"):
            continue
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                kinds = {media == "application/json" for media in response.get("content", {})}
                assert len(kinds) <= 1, (method, path, status)


def test_result_is_the_corrected_one_unless_the_original_is_asked_for(api, ended, alice):
    item = ended.items.get()
    jobs.revise(item, edits=[jobs.Edit(0, 0, "Hello, there!")], by=alice)
    jobs.name_speaker(item, speaker="S1", name="Anna")
    path = f"/v1/jobs/{ended.pk}/result"
    assert api.get(f"{path}.txt").content == b"Anna: Hello, there!\n"
    assert api.get(f"{path}.txt", original="true").content == b"Speaker 1: hello there\n"
    assert api.get(path).json()["speakers"][0]["label"] == "Anna"
    assert api.get(path, original="true").json()["text"] == "hello there"
    assert error_of(api.get(path, original="perhaps")) == (400, "invalid_field")
    assert api.get(f"/v1/status/{ended.pk}").json()["transcript"] == "Hello, there!"


def test_batch_has_its_originals_too(api, organization, alice):
    batch = make_batch(organization, 2)
    for item in batch.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript("hello"))
    jobs.revise(batch.items.all()[1], edits=[jobs.Edit(0, 0, "Hello.")], by=alice)
    path = f"/v1/jobs/{batch.pk}/result"

    def texts(**query):
        return [
            item["result"]["text"]
            for item in json.loads(b"".join(async_to_sync(pieces)(api.get(path, **query))))["items"]
        ]

    assert texts() == ["hello", "Hello."]
    assert texts(original="true") == ["hello", "hello"]
    assert api.get(f"{path}.txt", item=2).content == b"Speaker 1: Hello.\n"


async def pieces(response):
    return [piece async for piece in response.streaming_content]
