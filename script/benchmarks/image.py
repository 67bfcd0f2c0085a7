"""Builds the production image for real, runs the product from it as its user, and has a recording transcribed.

Usage: script/benchmark image POSTGRES_URL REDIS_URL [--storage FOLDER] [--volume HOST_PATH:PATH:ro ...]

Needs root on Debian, with `apt install buildah mmdebstrap`, and no daemon, registry of images or rights of a container.
If the base that the Dockerfile names is not in the storage, it is made of Debian's packages; Debian bookworm has
Python 3.11 too. --storage: keeps images between two calls (default: a temporary folder).

POSTGRES_URL names a database that is made for it and dropped. The Redis database is emptied. Processes run as in
compose.yaml: as the user of the image, on a root that cannot be written, without capabilities and new privileges. They
use the network of this machine. --volume: what the build alone sees of this machine, such as the settings of pip for
a mirror of PyPI and its certificates.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import requests
from redis import Redis

from tests import database, product

ROOT = Path(product.PROJECT_DIR)
RECORDING = ROOT / "tests/fixtures/appointment.mp3"
PROGRAMS = ("web", "worker", "worker", "importer", "engine", "clock", "deliverer")
DEBIAN = "bookworm"
READY_SECONDS, STOP_SECONDS, JOB_SECONDS = 180.0, 30.0, 180.0
# Migrations of an empty database take a minute and a half, and a multiple of it on a busy machine.
COMMAND_SECONDS = 900.0
# Enters the image's files as compose.yaml has containers do: $1 the image's root, $2 the folder for /data, $3 and $4
# the ids of its user, then the command. The kernel forgets all mounts with the last process of it.
ENTER = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount --bind "$2" "$1/data"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
root=$1 uid=$3 gid=$4
shift 4
exec chroot "$root" setpriv --reuid "$uid" --regid "$gid" --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs sh -c 'cd /app && exec "$@"' sh "$@"
"""


class Images:
    """buildah, with images in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._buildah = ["buildah", "--storage-driver", "vfs", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]

    def __call__(self, *words: str, quiet: bool = True) -> str:
        """Run buildah, and return what it prints."""
        command = [*self._buildah, *words]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE if quiet else None, text=True, check=True)
        return (done.stdout or "").strip()

    def has(self, name: str) -> bool:
        command = [*self._buildah, "inspect", "--type", "image", name]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def make_base(self, name: str, *, folder: Path) -> None:
        """Make an image with Python of Debian's packages."""
        archive = folder / "base.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        link = '--customize-hook=ln -s python3 "$1/usr/bin/python"'
        command = ["mmdebstrap", "--quiet", "--variant=minbase", packages, link, DEBIAN, str(archive)]
        subprocess.run(command, check=True)
        container = self("from", "scratch")
        self("add", "--quiet", container, str(archive), "/")
        self("commit", "--quiet", "--rm", container, name)


class Image:
    """The image's files, and what it says of itself."""

    def __init__(self, root: Path, config: dict[str, Any], *, data: Path, switches: dict[str, str]) -> None:
        self.root, self.data, self.config = root, data, config
        self.environment = dict(line.split("=", 1) for line in config["Env"]) | switches
        line = next(line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith(config["User"]))
        self.uid, self.gid = line.split(":")[2:4]
        os.chown(data, int(self.uid), int(self.gid))

    def popen(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        entering = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "sh", "-c", ENTER, "sh"]
        inside = [str(self.root), str(self.data), self.uid, self.gid, *command]
        return subprocess.Popen([*entering, *inside], env=self.environment, text=True, **options)

    def run(self, *command: str) -> str:
        """Run a command to its end, and return what it prints."""
        with self.popen(*command, stdout=subprocess.PIPE) as process:
            printed, _ = process.communicate(timeout=COMMAND_SECONDS)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {printed}")
        return str(printed)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("postgres_url")
    arguments.add_argument("redis_url")
    arguments.add_argument("--storage", type=Path)
    arguments.add_argument("--volume", action="append", default=[])
    given = arguments.parse_args()
    for command in ("buildah", "mmdebstrap", "unshare", "setpriv"):
        if shutil.which(command) is None:
            sys.exit(f"script/benchmark image: {command} is not on PATH (apt install buildah mmdebstrap).")
    with Redis.from_url(given.redis_url) as client:
        client.flushdb()
    database.create_empty(given.postgres_url)
    with ExitStack() as stack:
        stack.callback(database.drop, given.postgres_url)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        images = Images(given.storage or folder / "storage")
        build(images, folder, volumes=given.volume)
        container = images("from", "voxsite")
        stack.callback(images, "rm", container)
        root = Path(images("mount", container))
        stack.callback(images, "umount", container)
        config = json.loads(images("inspect", "--type", "image", "voxsite"))["Docker"]["config"]
        megabytes = sum(path.lstat().st_size for path in root.rglob("*")) / 1e6
        print(f"size of all files: {megabytes:.0f} MB; user: {config['User']}; command: {config['Cmd']}", flush=True)
        (data := folder / "data").mkdir()
        folder.chmod(0o711)
        switches = {
            "PORT": str(product.free_port()),
            "HOST": "127.0.0.1",
            "SECRET_KEY": "only for this site, which ends with its test",
            "VOXSITE_HOSTS": "localhost,127.0.0.1",
            "SMTP_HOST": "localhost",
            "VOXSITE_SSL_REDIRECT": "off",
            "VOXSITE_ENGINE": "pocketsphinx",
            "DATABASE_URL": given.postgres_url,
            "REDIS_URL": given.redis_url,
        }
        try_out(Image(root, config, data=data, switches=switches), folder)


def build(images: Images, folder: Path, *, volumes: list[str]) -> None:
    bases = {line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")}
    for base in bases:
        if not images.has(f"docker.io/library/{base}"):
            started = time.monotonic()
            images.make_base(f"docker.io/library/{base}", folder=folder)
            print(f"base {base}, of Debian's packages: made in {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    how = ["--isolation", "chroot", "--pull-never", "--format", "docker", "--quiet"]
    images("build", *how, *(word for volume in volumes for word in ("--volume", volume)), "--tag", "voxsite", ".")
    print(f"image: built in {time.monotonic() - started:.0f} s", flush=True)


def try_out(image: Image, folder: Path) -> None:
    # The two commands of the service `migrate` in compose.yaml.
    started = time.monotonic()
    image.run("python", "manage.py", "check", "--deploy", "--fail-level", "ERROR")
    image.run("python", "manage.py", "migrate", "--noinput", "--verbosity", "0")
    print(f"migrated in {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    running = []
    try:
        for number, program in enumerate(PROGRAMS):
            with (folder / f"{number}-{program}.log").open("w") as log:
                # The image's own command is that of web.
                command = [*image.config["Cmd"][:-1], program]
                running.append(image.popen(*command, stdout=log, stderr=log))
        use(image, started=started)
        for process in running:
            for own in psutil.Process(process.pid).children(recursive=True):
                assert own.uids().real == int(image.uid), f"{own} is not of the image's user"
        stop(running)
    except BaseException:
        for log_file in sorted(folder.glob("*.log")):
            print(f"== {log_file.name}\n{log_file.read_text()[-3000:]}", file=sys.stderr)
        raise
    finally:
        for process in running:
            # The kernel forgets to end a process with its parent once the process has given up its rights.
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
                child.kill()
            process.kill()
            process.wait()


def use(image: Image, *, started: float) -> None:
    """Order a transcript, as a customer does."""
    address = f"http://127.0.0.1:{image.environment['PORT']}"
    deadline = started + READY_SECONDS
    while not _is_ready(address):
        if time.monotonic() > deadline:
            raise SystemExit("the processes are not ready")
        time.sleep(0.5)
    print(f"ready after {time.monotonic() - started:.0f} s", flush=True)
    image.run(*image.config["Healthcheck"]["Test"][1:])
    made = image.run(
        "python", "manage.py", "create_organization", "Ann", "--owner", "ann@example.com", "--credit-dollars", "5"
    )
    headers = {"X-API-Key": made.splitlines()[-1]}
    with RECORDING.open("rb") as file:
        answer = requests.post(f"{address}/v1/transcribe", files={"file": file}, headers=headers, timeout=60)
    answer.raise_for_status()
    job_id = answer.json()["job_id"]
    deadline = time.monotonic() + JOB_SECONDS
    while (job := requests.get(f"{address}/v1/jobs/{job_id}", headers=headers, timeout=60).json())[
        "status"
    ] != "completed":
        if job["status"] == "failed" or time.monotonic() > deadline:
            raise SystemExit(f"the job did not complete: {job}")
        time.sleep(0.5)
    result = requests.get(f"{address}/v1/jobs/{job_id}/result", headers=headers, timeout=60).json()
    speakers = {segment["speaker"] for segment in result["segments"]}
    print(f"transcribed: {len(result['text'].split())} words of {len(speakers)} speakers by {result['engine']}")
    page = requests.get(address, timeout=60)
    style = next(part.split('"')[0] for part in page.text.split('href="') if ".css" in part.split('"')[0])
    requests.get(address + style, timeout=60).raise_for_status()
    print("the page and its style sheet are served", flush=True)


def stop(running: "list[subprocess.Popen[str]]") -> None:
    """End each process as a container is: SIGTERM for its first process."""
    started = time.monotonic()
    for process in running:
        for child in psutil.Process(process.pid).children():
            child.send_signal(signal.SIGTERM)
    for process in running:
        process.wait(STOP_SECONDS)
    print(f"all processes ended {time.monotonic() - started:.1f} s after SIGTERM", flush=True)


def _is_ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False


if __name__ == "__main__":
    main()
