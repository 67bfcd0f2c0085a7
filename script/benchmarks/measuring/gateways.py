"""The gateways that `script/benchmark apex` compares, each started on one upstream."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import requests

from tests.product import NEW_KEYS, environment_of, free_port
from voxsite.serve import embedded_redis

HERE = Path(__file__).resolve().parent
LITELLM_KEY = "sk-Benchmark-4f9c2e7a1b"


@dataclass(frozen=True)
class Way:
    """One way to the same upstream: directly, through our endpoint or through LiteLLM's proxy."""

    name: str
    url: str
    keys: tuple[str, ...]
    model: str
    pid: int
    headers: str = ""

    def request(self, content: str, *, key: str, stream: bool = False) -> bytes:
        parts = urlsplit(self.url)
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": 100,
                "stream": stream,
            }
        ).encode()
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n{self.headers}"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def cpu_seconds(way: Way) -> float:
    if not way.pid:
        return 0.0
    times = psutil.Process(way.pid).cpu_times()
    return times.user + times.system


@contextmanager
def program(
    command: list[str], *, url: str, log: Path, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[int]:
    """Run a server while the context is open. Yields its process id once it answers."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **(environment or {})}, cwd=cwd
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    requests.get(url, timeout=2)
                    break
                except requests.RequestException:
                    assert process.poll() is None, log.read_text()[-3000:]
                    assert time.monotonic() < deadline, log.read_text()[-3000:]
                    time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=30)


def litellm_config(upstream: str) -> str:
    model = {
        "model_name": "apex-latest",
        "litellm_params": {"model": "openai/bench", "api_base": upstream, "api_key": "x"},
    }
    return json.dumps({"model_list": [model], "general_settings": {"master_key": LITELLM_KEY}})


@contextmanager
def new_database(server_url: str, name: str) -> Iterator[str]:
    """Make a database while the context is open, and yield its URL."""
    named = f"voxsite_benchmark_{name}_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {named}")
    try:
        yield urlsplit(server_url)._replace(path=f"/{named}").geturl()
    finally:
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {named} WITH (FORCE)")


@contextmanager
def our_way(name: str, tree: Path, folder: Path, switches: dict[str, str]) -> Iterator[Way]:
    """Run the web process of a checkout by its own code, with 8 keys of 8 organizations."""
    folder.mkdir()
    port = free_port()
    environment = environment_of(
        PORT=str(port),
        VOXSITE_DATA_DIR=str(folder),
        **{"VOXSITE_ENV": "development", "VOXSITE_ENGINE": "pocketsphinx", **switches, "PYTHONPATH": str(tree)},
    )
    redis = None
    if not environment.get("REDIS_URL"):
        redis, environment["REDIS_URL"] = embedded_redis.start(folder)
    python = str(tree / ".venv" / "bin" / "python")

    def manage(*words: str) -> str:
        command = [python, "manage.py", *words]
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    manage("migrate_quickly", "--verbosity", "0")
    owners = {f"bench{number}@example.com": "900" for number in range(8)}
    keys = json.loads(manage("shell", "--no-imports", "-c", NEW_KEYS.format(dollars=owners)))
    address = f"http://127.0.0.1:{port}"
    command = [python, "-m", "voxsite.serve.web"]
    try:
        log = folder / "web.log"
        with program(command, url=f"{address}/health", log=log, environment=environment, cwd=tree) as pid:
            yield Way(name, f"{address}/v1/apex/chat/completions", tuple(keys.values()), "apex-latest", pid)
    finally:
        if redis is not None:
            embedded_redis.stop(redis)


@contextmanager
def portkey_way(installed: Path, upstream: str, folder: Path) -> Iterator[Way]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    script = installed / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    command = ["node", str(script), f"--port={port}", "--headless"]
    environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {upstream}\r\n"
    with program(command, url=address, log=folder / "portkey.log", environment=environment) as pid:
        # It has no keys of its own. 8 connections with 8 keys are the same to it.
        yield Way("portkey", f"{address}/v1/chat/completions", ("x",) * 8, "bench", pid, headers)


@contextmanager
def litellm_way(executable: str, upstream: str, folder: Path) -> Iterator[Way]:
    config = folder / "litellm.json"
    config.write_text(litellm_config(upstream))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [executable, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    url = f"{address}/health/liveliness"
    with program(command, url=url, log=folder / "litellm.log", environment=quiet) as pid:
        yield Way("litellm", f"{address}/chat/completions", (LITELLM_KEY,) * 8, "apex-latest", pid)


@contextmanager
def upstream_running(port: int, folder: Path) -> Iterator[None]:
    command = [sys.executable, str(HERE / "apex_upstream.py"), str(port)]
    with (folder / "upstream.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        time.sleep(1)
        assert process.poll() is None, (folder / "upstream.log").read_text()
        try:
            yield
        finally:
            process.terminate()
