"""Which processes a server has, with which priority and how many threads."""

import pytest

from transcription.jobs import queue
from transcription.models import Priority
from transcription.recordings import imports
from voxsite.serve import embedded_redis, programs


def test_web_keeps_its_priority(tmp_path):
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "VOXSITE_WORKERS": "3", "REDIS_URL": "redis://elsewhere"}
    niceness = {program.name: program.niceness for program in programs.all_programs(environ)}
    assert niceness["web"] == 0
    assert min(niceness["worker"], niceness["engine"]) > 0
    assert "redis" not in niceness


def test_embedded_redis_is_a_process_of_the_server_and_starts_first(tmp_path):
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": embedded_redis.url(tmp_path)}
    first, *others = programs.all_programs(environ)
    assert first.name == "redis"
    assert {program.name for program in others if program.needs_redis} == {"worker", "importer", "clock"}


def test_workers_do_not_wait_for_the_servers_of_customers(tmp_path):
    by_name = {program.name: program for program in programs.all_programs({"VOXSITE_DATA_DIR": str(tmp_path)})}
    assert programs.IMPORTS_QUEUE in by_name["importer"].command
    assert programs.IMPORTS_QUEUE not in by_name["worker"].command
    assert programs.IMPORTS_QUEUE == queue.IMPORTS


def test_every_priority_has_its_queue_and_its_rank_in_one_order(settings):
    """Three places know the priorities: the supervisor, which has no Django, the importer, and the settings of RQ."""
    in_order = [str(priority) for priority in Priority]
    assert list(programs.QUEUES) == in_order
    assert sorted(imports.RANKS, key=imports.RANKS.__getitem__) == in_order
    assert [*imports.RANKS.values()] == [*range(len(in_order))]
    assert len(imports.MAX_RUNNING_EACH) == len(in_order)
    assert list(settings.RQ_QUEUES) == [*in_order, programs.IMPORTS_QUEUE]


def test_webhooks_have_a_process_that_needs_no_redis(tmp_path):
    (deliverer,) = (
        one for one in programs.all_programs({"VOXSITE_DATA_DIR": str(tmp_path)}) if one.name == "deliverer"
    )
    assert deliverer.command == ["python", "manage.py", "deliver_webhooks", "--skip-checks"]
    assert not deliverer.needs_redis


@pytest.mark.parametrize(("wanted", "count"), [("3", 3), ("", 1)])
def test_workers_are_as_many_as_asked_for(tmp_path, wanted, count):
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "VOXSITE_WORKERS": wanted}
    (worker,) = (program for program in programs.all_programs(environ) if program.name == "worker")
    assert worker.count == count


@pytest.mark.parametrize(("switches", "seconds"), [({}, 4), ({"DRAIN": "15", "GRACE": "620"}, 636)])
def test_web_is_not_killed_before_it_has_drained_and_finished(tmp_path, switches, seconds):
    environ = {"VOXSITE_DATA_DIR": str(tmp_path)} | {
        f"VOXSITE_WEB_{name}_SECONDS": text for name, text in switches.items()
    }
    (web,) = (program for program in programs.all_programs(environ) if program.name == "web")
    assert web.stop_seconds == seconds


def test_native_libraries_get_one_thread_unless_the_operator_says_otherwise(tmp_path):
    """Otherwise each would start a thread per core in every process, and they would wait for each other."""
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "OMP_NUM_THREADS": "7"}
    web = next(program for program in programs.all_programs(environ) if program.name == "web")
    assert web.environment == {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
