from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from transcription.speech.engines import models
from transcription.speech.errors import EngineUnavailable


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"0" * 10_000_000)
    return tmp_path


def test_folder_is_taken_as_it_is(folder):
    assert models.is_local(str(folder))
    assert models.folder_of(str(folder)) == folder


@pytest.mark.parametrize(("compute_type", "megabytes"), [("int8", 8), ("int8_float16", 8), ("float16", 14), ("", 14)])
def test_memory_is_estimated_by_the_file(folder, compute_type, megabytes):
    assert models.megabytes(str(folder), compute_type=compute_type) == megabytes
    assert models.megabytes("/nowhere", compute_type=compute_type) == 0


def test_missing_folder_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "download_model", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(EngineUnavailable):
        models.folder_of(str(tmp_path / "nothing"))
    assert not models.is_local("no-such-name")


def test_download_is_done_once_and_its_failure_is_one_sentence(tmp_path, monkeypatch):
    def download(source, *, local_files_only=False):
        if local_files_only:
            raise FileNotFoundError
        if source == "base":
            return str(tmp_path)
        raise ConnectionError("details that nobody should see")

    monkeypatch.setattr(models, "download_model", download)
    assert models.folder_of("base") == tmp_path
    with pytest.raises(EngineUnavailable, match="large-v3 could not be downloaded"):
        models.folder_of("large-v3")


@pytest.mark.enable_socket
def test_hub_is_asked_once_and_quickly(monkeypatch):
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if "faster-whisper-base" in self.path else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        assert models.is_on_hub("base")
        assert not models.is_on_hub("somebody/private")
        assert not models.is_on_hub("no-such-name")
        server.shutdown()
    assert asked == ["/api/models/Systran/faster-whisper-base", "/api/models/somebody/private"]
    assert not models.is_on_hub("base", seconds=0.5)
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    assert not models.is_on_hub("base")
