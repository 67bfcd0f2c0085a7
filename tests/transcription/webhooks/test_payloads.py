"""The body of a webhook."""

from datetime import UTC, datetime, timedelta, timezone

from transcription.webhooks import payloads


def test_body_says_what_when_whose():
    at = datetime(2026, 11, 29, 14, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert payloads.envelope(event="job.failed", at=at, organization_id="org", data={"id": "1"}) == {
        "type": "job.failed",
        "timestamp": "2026-11-29T12:00:00.123Z",
        "organization_id": "org",
        "data": {"id": "1"},
    }


def test_whole_second_has_its_milliseconds():
    shown = payloads.envelope(event="x", at=datetime(2026, 1, 1, tzinfo=UTC), organization_id=1, data={})
    assert shown["timestamp"] == "2026-01-01T00:00:00.000Z"
