"""What the tests' own process is given must not hide a fault of the product."""

import asyncio
import os

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from accounts.models import User
from tests.environment import pytest_xdist_auto_num_workers
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
    assert 1 <= pytest_xdist_auto_num_workers() <= cores + cores // 2


def test_database_of_a_test_is_migrated(db):
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
