"""Tells speakers apart by the colour of their voices, on any machine: no model, no download.

Every 1.5 s of speech becomes the means and deviations of its MFCCs; Ward clustering splits them in two as long as the
halves are further apart (silhouette) than two halves of one speaker's speech would be. Good for a few clearly
different voices in clean recordings; no overlap, no recognition of a voice across recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn, number_by_appearance, speaker_id

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]
    Matrix = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.intp]

FRAME_MS = 10
WINDOW_FRAMES = 150
HOP_FRAMES = 75
# A pause inside a clip that no window crosses.
PAUSE_FRAMES = 20
CEPSTRA = 20
MEL_BINS = 30
# Frames this far (part of the clip's range) below its loudest ones are pauses and breath: they blur the voice.
_QUIET_PART = 0.6
# A window with less voice than this is too noisy to vote; it gets the nearest speaker afterwards.
MIN_VOICED_FRAMES = 50
# Silhouette of the best split in two, over n windows. Measured on flite voices (slt, rms, awb): one speaker stays
# below 0.18 from 15 windows on, below 0.23 with 4 to 14; two are above 0.24, with few windows above 0.26.
_SPLIT_FROM = 0.20
_SPLIT_FROM_FEW = 0.35  # divided by n and added
# Windows nearer than this part of the usual distance are copies; neighbours that share half their sound are at 0.5.
SAME_SOUND = 0.25
# Ward is quadratic: 1,500 windows (19 minutes) take about 10 MB and 0.1 s. Longer recordings are sampled evenly.
MAX_CLUSTERED = 1_500


@dataclass(frozen=True, slots=True)
class _Window:
    """features: (2 * (CEPSTRA - 1),) means and deviations. is_sure: has enough voice to vote."""

    clip: int
    start_ms: int
    end_ms: int
    features: Matrix
    is_sure: bool


class ClusteringDiarizer:
    """Implements `diarizers.base.Diarizer`."""

    name = "clustering"

    def begin(self, *, options: TranscriptionOptions) -> ClusteringDiarization:
        fewest, most = options.speaker_bounds
        return ClusteringDiarization(fewest=fewest, most=most)


class ClusteringDiarization:
    """Implements `diarizers.base.Diarization`; keeps 300 bytes for every 0.75 s of speech."""

    def __init__(self, *, fewest: int = 1, most: int = 20) -> None:
        self._fewest, self._most = fewest, most
        self._windows: list[_Window] = []
        self._clip_count = 0

    def add(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.add`."""
        cepstra = _mfcc(samples)
        is_voiced = _voiced(cepstra)
        clip = self._clip_count
        self._clip_count += 1
        windows = []
        for begin, end in _stretches(is_voiced):
            starts = range(begin, max(begin + 1, end - WINDOW_FRAMES + 1), HOP_FRAMES)
            for start in starts:
                stop = start + WINDOW_FRAMES if start != starts[-1] else end
                features, voiced_count = _summary(cepstra[start:stop], is_voiced[start:stop])
                windows.append(
                    _Window(
                        clip=clip,
                        start_ms=start_ms + start * FRAME_MS,
                        end_ms=start_ms + stop * FRAME_MS,
                        features=features,
                        is_sure=voiced_count >= MIN_VOICED_FRAMES,
                    )
                )
        windows[-1] = replace(windows[-1], end_ms=start_ms + len(samples) // 16)
        self._windows.extend(windows)

    def turns(self) -> list[Turn]:
        """See `Diarization.turns`."""
        if not self._windows:
            return []
        labels = self._labels()
        turns: list[Turn] = []
        for clip in range(self._clip_count):
            members = [index for index, window in enumerate(self._windows) if window.clip == clip]
            turns.extend(_clip_turns([self._windows[index] for index in members], [labels[i] for i in members]))
        return number_by_appearance(_joined(turns))

    def _labels(self) -> list[int]:
        """Return the speaker number of every window."""
        import numpy as np

        features = np.stack([window.features for window in self._windows])
        sure = [index for index, window in enumerate(self._windows) if window.is_sure] or list(range(len(features)))
        sure = sure[:: -(-len(sure) // MAX_CLUSTERED)]
        sure = [sure[index] for index in _distinct(features[sure])]
        sample = features[sure]
        centre, spread = sample.mean(axis=0), sample.std(axis=0) + 1e-6
        groups = split(sample, fewest=self._fewest, most=self._most)
        centroids = np.stack([(sample[group] - centre).mean(axis=0) / spread for group in groups])
        distances = ((((features - centre) / spread)[:, None, :] - centroids[None, :, :]) ** 2).sum(axis=2)
        labels = distances.argmin(axis=1)
        for number, group in enumerate(groups):
            labels[np.asarray(sure)[group]] = number
        return [int(label) for label in labels]


def _distinct(features: Matrix) -> list[int]:
    """Return the rows to keep so that no two are the same sound played twice.

    Copies form clusters of their own, clearer than any voice: a dialogue repeated for an hour came out as 20 speakers.
    """
    import numpy as np

    standardised = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    same_below = SAME_SOUND * np.sqrt(2 * standardised.shape[1])  # the distance of two unrelated rows
    kept: list[int] = []
    for index, row in enumerate(standardised):
        if not kept or np.linalg.norm(standardised[kept] - row, axis=1).min() >= same_below:
            kept.append(index)
    return kept


def split(features: Matrix, *, fewest: int, most: int) -> list[Labels]:
    """Return the rows' indices, one array per speaker, from `fewest` to `most` of them (never more than rows).

    features: (windows, features). Splits the clearest group in two until no split is clear any more; every group is
    standardised by itself, so that the difference between two speakers does not hide that between two others.
    """
    import numpy as np

    groups: list[Labels] = [np.arange(len(features))]
    halves = [_halve(features)]
    while len(groups) < most:
        best = max(range(len(groups)), key=lambda index: halves[index][0])
        clearness, is_second = halves[best]
        if is_second is None or (clearness <= 0 and len(groups) >= fewest):
            break
        group = groups.pop(best)
        halves.pop(best)
        for part in (group[~is_second], group[is_second]):
            groups.append(part)
            halves.append(_halve(features[part]))
    return groups


def _halve(features: Matrix) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """Return (silhouette of the best split in two less what one speaker would reach, which rows form the second)."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform

    count = len(features)
    if count < 2:
        return -1.0, None
    standardised = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    condensed = pdist(standardised)
    is_second = np.asarray(fcluster(linkage(standardised, "ward"), 2, "maxclust") == 2)
    if is_second.all() or not is_second.any():
        return -1.0, None
    silhouette = _silhouette(squareform(condensed), is_second)
    return silhouette - (_SPLIT_FROM + _SPLIT_FROM_FEW / count), is_second


def _silhouette(distances: Matrix, is_second: npt.NDArray[np.bool_]) -> float:
    """Mean silhouette of two groups (Rousseeuw 1987); a row alone in its group counts 0."""
    import numpy as np

    sizes = np.array([(~is_second).sum(), is_second.sum()])
    sums = np.stack([distances[:, ~is_second].sum(axis=1), distances[:, is_second].sum(axis=1)], axis=1)
    own = is_second.astype(int)
    rows = np.arange(len(distances))
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    between = sums[rows, 1 - own] / sizes[1 - own]
    scores = (between - within) / np.maximum(np.maximum(within, between), 1e-12)
    scores[sizes[own] == 1] = 0.0
    return float(scores.mean())


def _mfcc(samples: Samples) -> Matrix:
    """Return (frames, CEPSTRA) cepstra, one frame per 10 ms; at least one frame."""
    import kaldi_native_fbank
    import numpy as np

    options = kaldi_native_fbank.MfccOptions()
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.dither = 0.0  # the same recording must give the same speakers
    options.mel_opts.low_freq, options.mel_opts.high_freq = 60.0, 6800.0
    options.mel_opts.num_bins = MEL_BINS
    options.num_ceps = CEPSTRA
    options.use_energy = False
    computer = kaldi_native_fbank.OnlineMfcc(options)
    computer.accept_waveform(16_000, (samples * 32768.0).tolist())
    computer.input_finished()
    frames = [computer.get_frame(index) for index in range(computer.num_frames_ready)]
    return np.asarray(frames, dtype=np.float64).reshape(-1, CEPSTRA) if frames else np.zeros((1, CEPSTRA))


def _voiced(cepstra: Matrix) -> npt.NDArray[np.bool_]:
    """Tell which frames are loud enough to carry a voice; cepstrum 0 is loudness."""
    import numpy as np

    loud, quiet = np.percentile(cepstra[:, 0], [95, 5])
    return np.asarray(cepstra[:, 0] >= loud - (loud - quiet) * _QUIET_PART)


def _stretches(is_voiced: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches between pauses as (first frame, frame after the last), touching, covering every frame.

    Speakers change at pauses nearly always: a window across one would blend two voices into a third.
    """
    import numpy as np

    voiced = np.flatnonzero(is_voiced)
    cuts = [(before + after + 1) // 2 for before, after in pairwise(voiced.tolist()) if after - before > PAUSE_FRAMES]
    edges = [0, *cuts, len(is_voiced)]
    return list(pairwise(edges))


def _summary(cepstra: Matrix, is_voiced: npt.NDArray[np.bool_]) -> tuple[Matrix, int]:
    """Return (means and deviations without loudness, how many frames had a voice)."""
    import numpy as np

    voiced = cepstra[is_voiced, 1:]
    used = voiced if len(voiced) >= MIN_VOICED_FRAMES // 2 else cepstra[:, 1:]
    return np.concatenate([used.mean(axis=0), used.std(axis=0)]), len(voiced)


def _clip_turns(windows: list[_Window], labels: list[int]) -> list[Turn]:
    """Return the turns of one clip, touching each other; the last window reaches to the end of the clip.

    Overlapping windows that disagree share their overlap in the middle. A single window that overlaps two of one
    other speaker is taken for noise; one between two pauses is not, it may be a whole "yes".
    """
    smooth = list(labels)
    for i in range(1, len(labels) - 1):
        before, window, after = windows[i - 1 : i + 2]
        is_inside = before.end_ms > window.start_ms and window.end_ms > after.start_ms
        if is_inside and labels[i - 1] == labels[i + 1]:
            smooth[i] = labels[i - 1]
    turns = []
    start_ms = windows[0].start_ms
    for index, window in enumerate(windows):
        is_last = index == len(windows) - 1
        end_ms = window.end_ms if is_last else (windows[index + 1].start_ms + window.end_ms) // 2
        turns.append(Turn(start_ms, end_ms, speaker_id(smooth[index])))
        start_ms = end_ms
    return turns


def _joined(turns: list[Turn]) -> list[Turn]:
    """Return the turns with touching ones of the same speaker made one."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and joined[-1].end_ms >= turn.start_ms:
            joined[-1] = Turn(joined[-1].start_ms, turn.end_ms, turn.speaker)
        else:
            joined.append(turn)
    return joined
