"""TranscribeAPI's statuses: the documentation's words, and those with which the packages stop polling."""

from pathlib import Path

import pytest

from accounts.error_types import ErrorType
from transcription import recognition
from transcription.dialects.transcribeapi import manifest, statuses
from transcription.dialects.transcribeapi.errors import Refused
from transcription.models import FINAL_STATUSES, Status

# The documentation's, read 2026-11-29.
PUBLISHED = {
    "uploading",
    "verifying",
    "queued",
    "completed",
    "completed_with_errors",
    "result_available",
    "result_available_with_errors",
}
# Examples of failed_* in the documentation.
PUBLISHED_FAILURES = {
    "failed_batch_size_mismatch",
    "failed_batch_too_large",
    "failed_insufficient_credits",
    "failed_missing_batch_file",
    "failed_result_missing",
    "failed_source_missing",
    "failed_unsupported_batch_format",
    "failed_upload_missing",
    "failed_upload_size_mismatch",
}
# Those that no job of ours can have, since its order is refused: the README says why.
REFUSED_AT_THE_ORDER = {
    "failed_batch_file_count_mismatch": {"total_files": 2},
    "failed_batch_total_size_mismatch": {"total_size_bytes": 6},
    "failed_manifest_mismatch": {"total_files": 2, "total_size_bytes": 6},
}
README = Path(statuses.__file__).with_name("README.md").read_text()


def words():
    failed = {
        statuses.failed_status(error_type, is_batch=is_batch)
        for error_type in ("", *ErrorType)
        for is_batch in (False, True)
    }
    return {*statuses.OPEN.values(), *statuses.COMPLETED.values(), *failed, statuses.RESULT_MISSING}


def test_every_open_status_of_ours_has_a_word():
    assert set(statuses.OPEN) == set(Status) - set(FINAL_STATUSES)


def test_published_statuses_are_reached():
    assert words() >= PUBLISHED


def test_published_failures_are_reached():
    assert words() >= PUBLISHED_FAILURES


@pytest.mark.parametrize("word", REFUSED_AT_THE_ORDER)
def test_failure_that_no_job_has_is_a_refusal_of_its_order(word):
    assert word not in words()
    assert f"`{word}`" in README
    body = {"type": "batch", "files": [{"size_bytes": 5}], **REFUSED_AT_THE_ORDER[word]}
    with pytest.raises(Refused) as caught:
        manifest.read_job(body, capabilities_of=recognition.capabilities_of)
    assert caught.value.code == "invalid_job_request"


@pytest.mark.parametrize("word", sorted(words() - PUBLISHED - PUBLISHED_FAILURES))
def test_words_of_ours_are_described(word):
    assert f"`{word}`" in README


def test_every_other_word_is_a_failure():
    assert all(word.startswith("failed_") for word in words() - PUBLISHED)


@pytest.mark.parametrize(
    ("status", "job_status"),
    [
        ("uploading", "uploading"),
        ("verifying", "verifying"),
        ("queued", "queued"),
        ("completed", "completed"),
        ("completed_with_errors", "completed"),
        ("result_available", "completed"),
        ("result_available_with_errors", "completed"),
        ("failed_insufficient_credits", "insufficient_funds"),
        ("failed_source_missing", "failed"),
        ("failed_canceled", "failed"),
    ],
)
def test_job_status_ends_polling(status, job_status):
    assert statuses.job_status_of(status) == job_status


def test_every_word_of_an_ended_job_ends_polling():
    ended = words() - set(statuses.OPEN.values())
    assert {statuses.job_status_of(word) for word in ended} == set(statuses.FINAL)


@pytest.mark.parametrize(
    ("error_type", "of_one", "of_batch"),
    [
        ("insufficient_balance", "failed_insufficient_credits", "failed_insufficient_credits"),
        ("spend_limit_reached", "failed_insufficient_credits", "failed_insufficient_credits"),
        ("upload_expired", "failed_upload_missing", "failed_missing_batch_file"),
        ("upload_size_mismatch", "failed_upload_size_mismatch", "failed_batch_size_mismatch"),
        ("not_audio", "failed_unsupported_format", "failed_unsupported_batch_format"),
        ("url_not_found", "failed_source_missing", "failed_source_missing"),
        ("result_not_found", "failed_result_missing", "failed_result_missing"),
        ("engine_failed", "failed_transcription", "failed_transcription"),
        ("", "failed_canceled", "failed_canceled"),
    ],
)
def test_failures_are_told_apart(error_type, of_one, of_batch):
    assert statuses.failed_status(error_type, is_batch=False) == of_one
    assert statuses.failed_status(error_type, is_batch=True) == of_batch
