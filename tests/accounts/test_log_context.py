"""Log lines have the ids of what they are about, and of nothing else."""

import asyncio
import logging

import pytest
from asgiref.sync import sync_to_async

from accounts import log_context


@pytest.fixture(autouse=True)
def nothing_before():
    log_context.begin()


def shown(**extra):
    record = logging.makeLogRecord({"msg": "said", **extra})
    assert log_context.AddsIds().filter(record)
    return record


def test_ids_that_were_added_are_in_a_record():
    log_context.begin(request_id="req_1")
    log_context.add(organization_id=7)
    record = shown()
    assert (record.request_id, record.organization_id) == ("req_1", "7")
    assert record.ids == " request_id=req_1 organization_id=7"


def test_record_without_ids_has_none():
    assert shown().ids == ""


def test_what_a_line_says_itself_is_kept():
    log_context.begin(job_id="of the request")
    assert shown(job_id="of the line").job_id == "of the line"


def test_new_work_begins_without_the_ids_of_the_last():
    log_context.begin(request_id="req_1", organization_id=7)
    log_context.begin(request_id="req_2")
    assert dict(log_context.ids_now()) == {"request_id": "req_2"}


def test_ids_for_a_while_end_with_what_was_added_meanwhile():
    log_context.begin(request_id="req_1")
    with log_context.about(job_id="job"):
        log_context.add(item_id="item")
        assert set(log_context.ids_now()) == {"request_id", "job_id", "item_id"}
    assert set(log_context.ids_now()) == {"request_id"}


def test_requests_at_the_same_time_do_not_see_each_other_and_a_view_in_a_thread_is_of_its_request():
    met = asyncio.Barrier(20)

    def view(number):
        log_context.add(organization_id=number)
        return shown().ids

    async def request(number):
        log_context.begin(request_id=f"req_{number}")
        await met.wait()
        in_view = await sync_to_async(view)(number)
        await met.wait()
        return in_view, shown().ids

    async def all_at_once():
        return await asyncio.gather(*(request(number) for number in range(20)))

    for number, seen in enumerate(asyncio.run(all_at_once())):
        assert seen == (f" request_id=req_{number} organization_id={number}",) * 2
    assert log_context.ids_now() == {}


def test_id_of_a_line_is_not_collected():
    found = log_context.collect()
    log_context.add(job_id=5)
    assert found == {}


def test_what_is_collected_comes_from_threads_and_tasks_too():
    found = log_context.collect()

    async def work():
        await sync_to_async(log_context.note)(job_id=5)
        await asyncio.create_task(noting())

    async def noting():
        log_context.note(error_type="not_found")

    asyncio.run(work())
    assert found == {"job_id": "5", "error_type": "not_found"}
    assert shown().ids == ""


def test_what_is_noted_stands_in_no_line_and_needs_nobody_who_collects():
    log_context.note(error_type="not_found")
    log_context.collect()
    log_context.note(error_type="not_found")
    assert shown().ids == ""
