from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from transcription.speech.diarizers import segmentation
from transcription.speech.diarizers.segmentation import CHANNELS, HOP_SAMPLES, POWERSET, WINDOW_FRAMES, Segmentation

SECOND = round(segmentation.FRAMES_PER_SECOND)


class MadeNetwork:
    """A network and the recording that it hears: who of "abc" speaks in each frame, such as "", "a" or "ab".

    It numbers the speakers of each window in another order, as the real one may.
    """

    def __init__(self, said):
        self.said, self.heard = said, []  # heard: the first frame of each window
        self._read: list[int] = []

    @property
    def end(self):
        return len(self.said) * HOP_SAMPLES + 721

    def read(self, first, count):
        self._read.append(first // HOP_SAMPLES)
        return np.full(count, 0.1, dtype=np.float32)  # silence would not be heard

    def __call__(self, windows):
        at, self._read = self._read, []
        assert len(windows) == len(at)
        self.heard += at
        return np.stack([self._scores(first) for first in at])

    def _scores(self, at):
        frames = [*self.said[at : at + WINDOW_FRAMES]]
        frames += [""] * (WINDOW_FRAMES - len(frames))
        order = np.random.default_rng(at).permutation(CHANNELS)
        scores = np.full((WINDOW_FRAMES, len(POWERSET)), -9.0, dtype=np.float32)
        for index, frame in enumerate(frames):
            mask = np.zeros(CHANNELS)
            mask[[order["abc".index(one)] for one in frame]] = 1
            scores[index, (mask == POWERSET).all(axis=1).argmax()] = -0.001
        return scores


def segmented(said, *, step=None):
    """Return (activity of all frames, network). step: samples that become known at a time; None for all at once."""
    network = MadeNetwork(said)
    made = Segmentation(network, read=network.read)
    blocks = [block for known in range(0, network.end, step or network.end) for block in made.advance(known)]
    return np.concatenate([*blocks, *made.finish(network.end)]), network


def test_classes_are_the_sets_of_at_most_two_of_three():
    assert {tuple(row) for row in POWERSET.astype(int).tolist()} == {
        (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1),
    }  # fmt: skip
    assert POWERSET[0].sum() == 0


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_speakers_of_a_window_go_to_the_channels_on_which_they_spoke(order):
    chance = np.random.default_rng(1)
    before = (chance.random((100, 3)) > 0.6).astype(np.float32)
    shuffled = np.empty_like(before)
    shuffled[:, list(order)] = before
    noisy = np.clip(shuffled + chance.normal(0, 0.2, shuffled.shape), 0, 1).astype(np.float32)
    assert segmentation.stitching_order(before, noisy) == list(order)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [1, 10, 11, 12.6, 35, 61, 71, 100])
def test_every_frame_is_told_once(seconds):
    said = ["a"] * round(seconds * SECOND)
    activity, _ = segmented(said)
    assert abs(len(activity) - len(said)) <= 1
    assert (activity > 0).sum(axis=1).tolist() == [1] * len(activity)


@pytest.mark.long
def test_one_voice_stays_on_one_channel_however_the_windows_number_it():
    said = (["a"] * (3 * SECOND) + [""] * SECOND + ["b"] * (3 * SECOND)) * 17
    activity, network = segmented(said)
    assert len(network.heard) > 30
    owners = {
        one: {int(activity[index].argmax()) for index in range(len(activity)) if said[index] == one} for one in "ab"
    }
    assert all(len(channels) == 1 for channels in owners.values())
    assert owners["a"] != owners["b"]


def test_two_at_once_are_two_channels():
    said = ["a"] * (4 * SECOND) + ["ab"] * (2 * SECOND) + ["b"] * (4 * SECOND) + [""] * (4 * SECOND)
    activity, _ = segmented(said)
    found = (activity > 0).sum(axis=1)
    assert [int(count) for count in found] == [len(frame) for frame in said[: len(found)]]


@pytest.mark.long
@pytest.mark.parametrize("step", [1_000, 30_000, 480_000])
def test_frames_do_not_depend_on_how_the_samples_come(step):
    said = (["a"] * SECOND + ["ab"] * SECOND + [""] * SECOND + ["c"] * SECOND) * 25
    assert np.array_equal(segmented(said, step=step)[0], segmented(said)[0])


@pytest.mark.long
def test_after_a_minute_every_frame_is_heard_twice_and_before_four_times():
    _, network = segmented(["a"] * (300 * SECOND))
    steps = np.diff(network.heard)
    assert set(steps[: segmentation.FIRST_FRAMES // 148].tolist()) == {148}
    assert set(steps[segmentation.FIRST_FRAMES // 148 :].tolist()) == {296}


def test_silent_window_is_not_heard_beside_a_loud_one():
    heard = []

    def network(windows):
        heard.append(len(windows))
        return np.zeros((len(windows), WINDOW_FRAMES, len(POWERSET)), dtype=np.float32)

    def read(first, count):
        return np.full(count, 0.1 if first < 100_000 else 0.0, dtype=np.float32)

    made = Segmentation(network, read=read)
    activity = np.concatenate([*made.finish(16_000 * 40)])
    assert heard == [2, 1]  # the windows at 0, 2.5 and 5 s; the one at 7.5 s would be the other of the second pair
    assert activity[-589:].max() == 0
