"""What the tests' own process is given must not hide a fault of the product."""

import asyncio
import os
from types import SimpleNamespace

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from accounts.models import User
from tests.environment import LONG_FILES, long_file_of, long_files_first, pytest_xdist_auto_num_workers
from tests.product import environment_of
from tests.voxsite.test_async_only_handler import speak


async def blocking_view(request):
    """The fault: a synchronous database call, which stops the event loop for all requests."""
    User.objects.first()
    return HttpResponse()


urlpatterns = [path("page", blocking_view), path("v1/apex/chat", blocking_view)]


@override_settings(ROOT_URLCONF=__name__)
def test_synchronous_database_call_in_an_async_view_fails(db):
    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(AsyncClient().get("/page"))


@override_settings(ROOT_URLCONF=__name__)
def test_synchronous_database_call_in_the_async_only_handler_fails(db):
    with pytest.raises(SynchronousOnlyOperation):
        speak([{"type": "http.request", "body": b"", "more_body": False}], path="/v1/apex/chat")


def test_product_under_test_refuses_synchronous_calls_too(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    assert "DJANGO_ALLOW_ASYNC_UNSAFE" not in environment_of()


def test_number_of_processes_is_ours_and_not_that_of_xdist(pytestconfig):
    assert pytestconfig.pluginmanager.hasplugin("xdist")
    assert pytestconfig.hook.pytest_xdist_auto_num_workers(config=pytestconfig) == pytest_xdist_auto_num_workers()
    cores = len(os.sched_getaffinity(0))
    assert 1 <= pytest_xdist_auto_num_workers() <= 2 * cores


def test_database_of_a_test_is_migrated(db):
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []


def test_files_that_are_called_long_are_there(pytestconfig):
    assert [path for path in LONG_FILES if not (pytestconfig.rootpath / path).exists()] == []


@pytest.mark.parametrize("process_count", [2, 3, 4])
def test_each_process_begins_with_long_files(process_count):
    paths = [f"tests/test_{number}.py" for number in range(60)]
    paths[10:10], paths[40:40] = list(LONG_FILES)[:4], list(LONG_FILES)[4:]
    items = [SimpleNamespace(nodeid=f"{path}::test_{number}") for path in paths for number in range(5)]
    ordered = long_files_first(items, process_count=process_count)
    assert sorted(item.nodeid for item in ordered) == sorted(item.nodeid for item in items)
    for left in range(process_count, 0, -1):
        size = len(ordered) // left  # as pytest-xdist divides them
        part, ordered = ordered[:size], ordered[size:]
        is_long = [bool(long_file_of(item)) for item in part]
        assert is_long == sorted(is_long, reverse=True)
        assert any(is_long)


def test_files_that_share_a_product_come_to_one_process():
    paths = [f"tests/test_{number}.py" for number in range(30)]
    paths[::10] = ["tests/whole/test_a.py", "tests/whole/test_b.py", "tests/whole/test_c.py"]
    items = [SimpleNamespace(nodeid=f"{path}::test_{number}") for path in paths for number in range(3)]
    first = [item.nodeid for item in long_files_first(items, process_count=3)][:9]
    assert {path.partition("::")[0] for path in first} == {*paths[::10]}


def test_others_keep_their_order():
    items = [SimpleNamespace(nodeid=f"tests/test_a.py::test_{number}") for number in (3, 1, 2)]
    assert long_files_first(items, process_count=3) == items
