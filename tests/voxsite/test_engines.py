import pytest
from django.core.exceptions import ImproperlyConfigured

from voxsite import engines
from voxsite.serve import programs


@pytest.mark.parametrize(
    ("device", "wanted", "devices"),
    [
        ("", "", ["auto"]),
        ("cpu", "2", ["cpu", "cpu"]),
        ("cuda", "3", ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:1", "", ["cuda:1"]),
        ("", "0", []),
        ("", "cuda:0, cuda:2", ["cuda:0", "cuda:2"]),
    ],
)
def test_devices_are_a_number_or_a_list(device, wanted, devices, monkeypatch):
    monkeypatch.setenv("VOXSITE_DEVICE", device)
    monkeypatch.setenv("VOXSITE_ENGINES", wanted)
    assert engines.devices() == devices


@pytest.mark.parametrize("wanted", ["99", "gpu", "cuda:x", "cpu:1", "cpu,tpu"])
def test_what_makes_no_sense_is_refused(wanted, monkeypatch):
    monkeypatch.setenv("VOXSITE_ENGINES", wanted)
    with pytest.raises(ImproperlyConfigured, match="VOXSITE_ENGINES"):
        engines.devices()


def test_each_engine_process_has_a_socket_and_a_program(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXSITE_ENGINES", "cuda:0,cuda:1")
    assert engines.addresses("ipc:///run/e.sock") == ["ipc:///run/e.sock", "ipc:///run/e.sock-2"]
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "VOXSITE_WORKERS": "1", "REDIS_URL": "redis://elsewhere"}
    commands = {one.name: one.command[-2:] for one in programs.all_programs(environ) if "engine" in one.name}
    assert commands == {"engine": ["--number", "1"], "engine-2": ["--number", "2"]}


def test_host_without_engines_starts_none(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXSITE_ENGINES", "0")
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://elsewhere"}
    names = [one.name for one in programs.all_programs(environ)]
    assert "worker" in names
    assert not any("engine" in name for name in names)


@pytest.mark.parametrize("address", ["0.0.0.0:5590", "tcp://0.0.0.0", "tcp://:5590", "tcp://host:65530", "tcp://h:x"])
def test_address_to_listen_at_is_whole(address, monkeypatch):
    assert engines.listen() == ""
    monkeypatch.setenv("VOXSITE_ENGINE_LISTEN", address)
    with pytest.raises(ImproperlyConfigured, match="VOXSITE_ENGINE_LISTEN"):
        engines.listen()
    monkeypatch.setenv("VOXSITE_ENGINE_LISTEN", "tcp://[::]:5590")
    assert engines.listen() == "tcp://[::]:5590"
