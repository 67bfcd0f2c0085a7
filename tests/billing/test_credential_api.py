"""What keys and tokens are shown as alike, and which ids of them an address can have."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from accounts.errors import NotFound
from accounts.models import ApiKey
from billing import credential_api

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def row(**facts):
    return ApiKey(name="laptop", prefix="vxp_live_abcd", scopes="read billing", created_at=NOON, **facts)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({}, "live"),
        ({"expires_at": NOON + timedelta(seconds=1)}, "live"),
        ({"expires_at": NOON}, "expired"),
        ({"revoked_at": NOON}, "revoked"),
        ({"revoked_at": NOON, "expires_at": NOON}, "revoked"),
    ],
)
def test_status_is_one_of_three(facts, status):
    assert credential_api.show_credential(row(**facts), now=NOON)["status"] == status


def test_shown_fields_are_those_that_are_described():
    shown = credential_api.show_credential(row(last_used_at=NOON), now=NOON)
    assert set(shown) == set(credential_api.CredentialSerializer().fields)
    assert (shown["scopes"], shown["last_used_at"], shown["expires_at"]) == (
        ["read", "billing"],
        "2026-11-30 12:00:00",
        None,
    )


def test_impossible_id_is_as_unknown_as_a_strangers():
    number = uuid.uuid4()
    assert credential_api.id_in_address(str(number), noun="key") == number
    for text in ("7", "", "x" * 400):
        with pytest.raises(NotFound, match=r"There is no such token\."):
            credential_api.id_in_address(text, noun="token")
