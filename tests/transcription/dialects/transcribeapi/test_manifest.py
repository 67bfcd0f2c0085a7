"""JSON bodies about jobs: as the documentation has them and as both packages send them; each fault has its code."""

import pytest

from accounts.errors import InvalidField
from transcription.dialects.transcribeapi import manifest
from transcription.dialects.transcribeapi.errors import Refused
from transcription.dialects.transcribeapi.manifest import File
from transcription.speech.capabilities import ModelCapabilities

OFFER = ModelCapabilities("faster-whisper/base", frozenset({"en", "fr", "de"}), translates=True)
URL = "https://storage.example.com/audio.mp3?signature=abc"


def job(body):
    return manifest.read_job(body, capabilities_of=lambda _: OFFER)


def files(body):
    return manifest.read_files(body, capabilities_of=lambda _: OFFER)


def code(read, body):
    with pytest.raises(Refused) as caught:
        read(body)
    return caught.value.code


def test_documented_big_file():
    read = job(
        {
            "type": "big_file",
            "size_bytes": 157_286_400,
            "content_type": "audio/mpeg",
            "model": "whisper-large-v3-turbo",
            "webhook_url": "https://example.com/transcribe-webhook",
        }
    )
    assert read.files == (File(reference="file_000001", size_bytes=157_286_400, content_type="audio/mpeg"),)
    assert read.asked.webhook_url == "https://example.com/transcribe-webhook"


def test_documented_big_file_at_a_url():
    read = job({"type": "big_file", "source": {"type": "url", "url": URL}, "model": "whisper-large-v3-turbo"})
    assert read.files == (File(reference="file_000001", url=URL),)


def test_documented_batch():
    read = job({"type": "batch", "files": [{"reference_id": "file_000001", "url": URL}], "webhook_url": "https://a.b/"})
    assert read.files == (File(reference="file_000001", url=URL),)


def test_older_package():
    read = files({"files": [{"reference_id": "file_000001"}, {"reference_id": "file_000002", "size_bytes": 104857600}]})
    assert [file.size_bytes for file in read.files] == [None, 104857600]
    assert read.is_batch


def test_newer_package():
    read = files(
        {
            "files": [
                {"reference_id": "a", "language": "fr"},
                {"url": URL},
                {"reference_id": "c", "url": URL, "language": None},
            ],
            "language": "en",
            "exclude": "vtt,segments",
        }
    )
    assert [(file.reference, file.language) for file in read.files] == [("a", "fr"), ("file_000002", None), ("c", None)]
    assert read.asked.options.language == "en"
    assert read.asked.view.excluded == {"vtt", "segments"}


def test_language_of_one_file_may_be_detected():
    [file] = files({"files": [{"language": "auto"}], "language": "en"}).files
    assert file.language == "auto"


def test_exclude_may_be_a_list():
    assert files({"files": [{}], "exclude": ["vtt", "billing"]}).asked.view.excluded == {"vtt", "billing"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "invalid_job_request"),
        ({"type": "podcast"}, "invalid_job_request"),
        ({"type": "batch"}, "invalid_job_request"),
        ({"type": "batch", "files": []}, "invalid_job_request"),
        ({"type": "batch", "files": {"a": 1}}, "invalid_job_request"),
        ({"type": "batch", "files": ["a.mp3"]}, "invalid_job_request"),
        ({"type": "batch", "files": [{"reference_id": "a"}, {"reference_id": "a"}]}, "invalid_job_request"),
        ({"type": "batch", "files": [{}, {"reference_id": "file_000001"}]}, "invalid_job_request"),
        ({"type": "batch", "files": [{}], "total_files": 2}, "invalid_job_request"),
        ({"type": "batch", "files": [{"size_bytes": 5}], "total_size_bytes": 6}, "invalid_job_request"),
        ({"type": "batch", "files": [{"size_bytes": 5}], "total_size_bytes": 4}, "invalid_job_request"),
        ({"type": "batch", "files": [{"size_bytes": 5}, {}], "total_size_bytes": 5}, "invalid_job_request"),
        ({"type": "batch", "files": [{"size_bytes": 5}, {}], "total_size_bytes": "6"}, "invalid_job_request"),
        ({"type": "big_file", "source": {"type": "ftp", "url": URL}}, "invalid_job_request"),
        ({"type": "big_file", "source": {"type": "url"}}, "invalid_job_request"),
        ({"type": "big_file", "source": "x"}, "invalid_job_request"),
        ({"type": "big_file", "size_bytes": 0}, "invalid_job_request"),
        ({"type": "big_file", "size_bytes": True}, "invalid_job_request"),
        ({"type": "big_file", "size_bytes": "5"}, "invalid_job_request"),
        ({"type": "big_file", "size_bytes": 10**10 + 1}, "batch_too_large"),
        ({"type": "batch", "files": [{"size_bytes": 6 * 10**9}, {"size_bytes": 6 * 10**9}]}, "batch_too_large"),
        ({"type": "batch", "files": [{}] * 10_001}, "too_many_files"),
        ({"type": "batch", "files": [{}, {"filename": "clip.mp4"}]}, "invalid_file_metadata"),
        ({"type": "batch", "files": [{}, {"content_type": "text/html"}]}, "invalid_file_metadata"),
        ({"type": "batch", "files": [{}, {"content_type": 7}]}, "invalid_file_metadata"),
        ({"type": "batch", "files": [{}, {"reference_id": "x" * 256}]}, "invalid_file_metadata"),
        ({"type": "batch", "files": [{}, {"reference_id": "a\x00b"}]}, "invalid_file_metadata"),
        ({"type": "batch", "files": [{}, {"url": ""}]}, "invalid_file_metadata"),
        ({"type": "batch", "files": [{}, {"url": URL, "size_bytes": 5}]}, "invalid_file_metadata"),
    ],
)
def test_fault_of_a_job_has_its_code(body, expected):
    assert code(job, body) == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"files": [{}], "language": "klingon"}, "language"),
        ({"files": [{"language": "klingon"}]}, "files[0].language"),
        ({"files": [{}], "model": 7}, "model"),
        ({"files": [{}], "webhook_url": ["x"]}, "webhook_url"),
        ({"files": [{}], "exclude": [7]}, "exclude"),
    ],
)
def test_wrong_option_is_refused_by_name(body, param):
    with pytest.raises(InvalidField) as caught:
        files(body)
    assert caught.value.data["param"] == param


def test_page_names_files():
    body = {"files": [{"file_id": "file_000001", "filename": "episode-1.mp3", "size_bytes": 5}, {"reference_id": "b"}]}
    page = manifest.read_page(body)
    assert page == (File(reference="file_000001", name="episode-1.mp3", size_bytes=5), File(reference="b"))
    assert manifest.read_page({"file_ids": ["a", "b"]}) == (File(reference="a"), File(reference="b"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "invalid_upload_page"),
        ({"files": []}, "invalid_upload_page"),
        ({"files": [{"file_id": "a"}] * 1_001}, "invalid_upload_page"),
        ({"files": [7]}, "invalid_file_metadata"),
        ({"files": [{}]}, "invalid_file_metadata"),
        ({"files": [{"file_id": "a", "size_bytes": -1}]}, "invalid_file_metadata"),
        ({"files": [{"file_id": "a", "filename": "a.mp4"}]}, "invalid_file_metadata"),
    ],
)
def test_fault_of_a_page_has_its_code(body, expected):
    assert code(manifest.read_page, body) == expected


def test_page_may_not_state_another_size():
    manifest.require_same_size(File(reference="a", size_bytes=5), declared_bytes=5)
    manifest.require_same_size(File(reference="a", size_bytes=5), declared_bytes=None)
    with pytest.raises(Refused) as caught:
        manifest.require_same_size(File(reference="a", size_bytes=6), declared_bytes=5)
    assert caught.value.code == "invalid_file_metadata"


def test_resumed_upload():
    assert manifest.read_resumed({"upload": {"type": "put"}}) == ("put", "", "")
    body = {"type": "multipart", "key": "k", "upload_id": "u"}
    assert manifest.read_resumed(body) == manifest.read_resumed({"upload": body}) == ("multipart", "k", "u")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "invalid_upload"),
        ({"upload": 7}, "invalid_upload"),
        ({"upload": {}}, "invalid_upload"),
        ({"upload": {"type": "ftp"}}, "invalid_upload_type"),
        ({"upload": {"type": ["put"]}}, "invalid_upload_type"),
        ({"upload": {"type": "multipart", "key": "k"}}, "invalid_upload"),
        ({"upload": {"type": "multipart", "key": 7, "upload_id": "u"}}, "invalid_upload"),
    ],
)
def test_fault_of_a_resumed_upload_has_its_code(body, expected):
    assert code(manifest.read_resumed, body) == expected
