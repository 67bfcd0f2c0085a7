from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio
from transcription.speech.diarizers import filterbank, networks
from transcription.speech.errors import EngineUnavailable

PROJECT = Path(__file__).resolve().parents[4]


@pytest.fixture
def other_folder(tmp_path):
    """A copy of the files that a test may damage."""
    for name in networks.SHA256:
        (tmp_path / name).write_bytes((networks.FOLDER / name).read_bytes())
    return tmp_path


def voice_print(samples):
    features = filterbank.log_mel(samples)
    frames = networks.voice_frames(features - features.mean(axis=0))
    return networks.voice_print(np.concatenate([frames.mean(axis=0), frames.std(axis=0, ddof=1)]))


def load(file):
    return np.concatenate(list(audio.windows(recordings.named(file).path, max_duration_ms=60_000)))


def test_every_file_has_a_hash_and_a_licence():
    files = {path.name for path in networks.FOLDER.iterdir()}
    assert files == {*networks.SHA256, "README.md", "LICENSE.segmentation-3.0", "LICENSE.campplus"}


def test_segmentation_gives_a_probability_to_each_class_in_each_frame():
    scores = networks.segment(np.zeros((3, 160_000), dtype=np.float32))
    assert scores.shape == (3, 589, 7)
    assert np.allclose(np.exp(scores).sum(axis=2), 1, atol=1e-4)


def test_windows_together_give_what_each_gives_alone():
    samples = load("dialogue.flac")
    windows = np.stack([samples[:160_000], samples[80_000:240_000]])
    together = networks.segment(windows)
    alone = np.concatenate([networks.segment(window[None]) for window in windows])
    assert np.allclose(together, alone, atol=1e-3)
    assert np.array_equal(together.argmax(axis=2), alone.argmax(axis=2))


@pytest.mark.long
def test_prints_of_one_voice_are_more_alike_than_those_of_two():
    one, again, other = load("sentence-slt.wav"), load("sentence-slt.opus"), load("sentence-rms.wav")
    prints = [voice_print(samples) for samples in (one[:24_000], again[-24_000:], other[-24_000:])]
    same, different = (
        float(prints[0] @ prints[index] / np.linalg.norm(prints[0]) / np.linalg.norm(prints[index])) for index in (1, 2)
    )
    assert same > 0.5 > different
    # With a ReLU behind the last layer, as one published copy of its code has it, no number would be below zero.
    assert prints[0].min() < 0


def test_directions_of_channels_are_taken_out_of_prints_and_nothing_else():
    chance = np.random.default_rng(0).normal(size=(5, 192)).astype(np.float32)
    found = networks.without_channel(chance)
    assert np.allclose(networks.without_channel(chance * 7), found, atol=1e-6)
    directions = networks._channels(networks.FOLDER)
    assert np.allclose(directions @ directions.T, np.eye(8), atol=1e-5)
    assert np.allclose(found @ directions.T, 0, atol=1e-6)
    unit = chance / np.linalg.norm(chance, axis=1, keepdims=True)
    assert np.allclose(found + unit @ directions.T @ directions, unit, atol=1e-6)


@pytest.mark.parametrize("name", sorted(networks.SHA256))
def test_damaged_file_is_not_loaded(other_folder, name):
    content = bytearray((other_folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (other_folder / name).write_bytes(content)
    with pytest.raises(EngineUnavailable, match="hash"):
        networks.load(folder=other_folder)


@pytest.mark.parametrize("name", sorted(networks.SHA256))
def test_missing_file_is_told(other_folder, name):
    (other_folder / name).unlink()
    with pytest.raises(EngineUnavailable, match="missing"):
        networks.load(folder=other_folder)


def test_child_of_a_worker_can_load_and_run_the_networks():
    """A worker imports this module and forks; its child loads."""
    child = os.fork()
    if not child:
        status = 1
        try:
            networks._segmentation.cache_clear()
            status = 0 if networks.segment(np.zeros((1, 160_000), dtype=np.float32)).shape[1:] == (589, 7) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.long
def test_networks_that_were_loaded_before_a_fork_run_in_the_child():
    """Workers do so. It needs sessions without threads, which a child would wait for in vain.

    The child ends as RQ's do. At a usual exit onnxruntime, once imported, joins a thread that a child does not have.
    """
    program = """
import os
import sys
import threading

import numpy as np
import onnxruntime

from transcription.speech.diarizers import networks

before = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else None
networks.load()
assert before is None or len(os.listdir("/proc/self/task")) == before
sound = np.random.default_rng(0).normal(0, 0.1, (2, 160_000)).astype(np.float32)
child = os.fork()


def work():
    scores, frames = networks.segment(sound), networks.voice_frames(sound[0, :16_000].reshape(200, 80))
    os.write(1, f"{scores.sum()} {frames.sum()}\\n".encode())  # at once: both processes write


thread = threading.Thread(target=work)
thread.start()
thread.join()
if not child:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    said = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=60).stdout.split("\n")
    assert said[0] == said[1] != ""
