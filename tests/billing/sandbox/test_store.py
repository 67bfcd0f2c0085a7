"""The sandbox's file: transactions, objects by kind, settings."""

import pytest

from billing.sandbox.store import NoSuchObject, Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store.sqlite3")


def test_transaction_that_raises_changes_nothing(store):
    def fail():
        with store.transaction() as state:
            state.put({"id": "cus_1", "object": "customer"})
            state.set_setting("order", "reversed")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.transaction() as state:
        assert state.find("cus_1") is None
        assert state.get_setting("order") == ""


def test_object_of_another_kind_is_not_found(store):
    with store.transaction() as state:
        state.put({"id": "cus_1", "object": "customer"})
        assert state.get("cus_1", kind="customer") == {"id": "cus_1", "object": "customer"}
        with pytest.raises(NoSuchObject):
            state.get("cus_1", kind="charge")


def test_another_process_sees_the_same_state(store):
    with store.transaction() as state:
        state.put({"id": "cus_1", "object": "customer", "email": "a@example.com"})
        state.put({"id": "cus_2", "object": "customer", "email": "b@example.com"})
    with Store(store.path).transaction() as state:
        assert [found["id"] for found in state.list("customer")] == ["cus_2", "cus_1"]
        assert [found["id"] for found in state.list("customer", email="a@example.com")] == ["cus_1"]
