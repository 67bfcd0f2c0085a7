"""TranscribeAPI's errors: every published code, a code for each fault of ours, and the words of both packages."""

import pytest

from accounts.error_types import ErrorType
from accounts.errors import (
    BadMedia,
    BadRequest,
    Conflict,
    InvalidField,
    NoRoom,
    NotFound,
    RateLimited,
    TooLarge,
    TranscriptionFailed,
    VoxsiteError,
)
from billing.stripe_api import CardDeclined
from transcription.dialects.transcribeapi import errors
from transcription.dialects.transcribeapi.errors import Refused

# As the documentation lists them, read 2026-11-29.
LISTED = """
400 audio_too_long
400 batch_too_large
400 file_too_large
400 invalid_file_metadata
400 invalid_form_data
400 invalid_job_request
400 invalid_json
400 invalid_request_options
400 invalid_upload
400 invalid_upload_page
400 invalid_upload_type
400 missing_file
400 too_many_files
401 invalid_api_key
401 missing_api_key
402 insufficient_credit
403 email_not_verified
404 job_not_found
404 not_found
409 invalid_job_status
409 result_not_available
429 rate_limit_exceeded
500 internal_error
502 transcription_failed
"""


def test_every_published_code_is_there_with_its_status():
    published = dict(reversed(line.split()) for line in LISTED.split("\n") if line)
    assert {code: int(status) for code, status in published.items()} == errors.PUBLISHED


def test_every_type_of_error_has_a_code_that_is_public():
    assert set(errors.CODES) == set(ErrorType)
    codes = {code for code in errors.CODES.values() if code}
    assert codes <= set(errors.PUBLISHED) | set(errors.ADDED)


def test_no_code_of_ours_replaces_a_published_one():
    assert not set(errors.PUBLISHED) & set(errors.ADDED)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidField("model", "No."), 400, "invalid_request_options"),
        (TooLarge("Too large."), 400, "file_too_large"),
        (BadMedia("Too long.", error_type="audio_too_long"), 400, "audio_too_long"),
        (BadMedia("No sound.", error_type="not_audio"), 400, "invalid_request_options"),
        (NotFound("No job.", error_type="job_not_found"), 404, "job_not_found"),
        (NotFound(), 404, "not_found"),
        (NotFound("No result.", error_type="result_not_found"), 409, "result_not_available"),
        (Conflict("Ended.", error_type="job_has_ended"), 409, "invalid_job_status"),
        (RateLimited(retry_after=3), 429, "rate_limit_exceeded"),
        (NoRoom(retry_after=3), 503, "no_room"),
        (VoxsiteError(), 500, "internal_error"),
        (TranscriptionFailed("Failed.", error_type="engine_failed"), 502, "transcription_failed"),
        (TranscriptionFailed("Crashed.", error_type="internal_error"), 500, "internal_error"),
        (Refused("invalid_upload", "No."), 400, "invalid_upload"),
        (Refused("no_saved_card", "No card."), 402, "no_saved_card"),
    ],
)
def test_status_and_code(error, status, code):
    assert (errors.status_of(error), errors.code_of(error)) == (status, code)


def test_body_has_the_text_for_both_packages_and_the_data_beside_it():
    shown = errors.show_error(InvalidField("language", "Which?"), request_id="req_1")
    assert shown == {
        "error": "Which?",
        "message": "Which?",
        "code": "invalid_request_options",
        "type": "invalid_field",
        "request_id": "req_1",
        "param": "language",
    }


def test_address_about_jobs_has_its_own_word_for_a_wrong_field():
    shown = errors.show_error(BadRequest(), request_id="req_1", invalid="invalid_job_request")
    assert shown["code"] == "invalid_job_request"


def test_data_of_an_error_does_not_replace_its_code():
    """Stripe's own code stands in the data of a declined card."""
    shown = errors.show_error(CardDeclined(code="expired_card", decline_code=""), request_id="req_1")
    assert shown["code"] == "card_declined"
