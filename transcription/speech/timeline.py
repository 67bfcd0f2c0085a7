"""Places packets or frames on the time line of a recording. Pure: no PyAV, no numpy.

The probe adds packets and the decoder adds frames. Both follow these rules, so that both find the same length:

* A time stamp is believed. What is missing before it becomes silence, whatever the length: a pause in a video is part
  of the recording. Deviations are compared with the whole time so far, so that small ones add up until they count.
* Sound that runs ahead of its time stamps is shortened by at most 2 %, which is more than any clock is wrong. So a file
  cannot sell an hour of packets for the time stamps of a minute.
* Sound before the start is not heard, such as what precedes the place of a cut in a file that was cut without decoding.
* Time stamps that step back by more than a second begin a new part (a chained or restarted stream): it follows the
  part before.
"""

from __future__ import annotations

from dataclasses import dataclass

# Smaller deviations are rounding.
MIN_GAP_SECONDS = 0.05
# An exact length: the container counts in steps finer than this, or the difference is a rounding in such steps.
MAX_ROUNDING_SECONDS = 0.0011
# Sound is shortened only when it is this far ahead.
MIN_SURPLUS_SECONDS = 0.02
MAX_SHORTENING = 0.02
# A larger step back is a new part, no surplus.
MAX_SURPLUS_SECONDS = 1.0
# Demuxers that cannot know the length of a packet state 0, or a negative number as an unsigned one (149 hours).
MAX_PACKET_SECONDS = 60.0
# In a stream whose clock may restart (MPEG-TS), a larger step of the time stamps is a restart unless another track
# walked there. FFmpeg's own threshold is the same (option dts_delta_threshold).
MAX_STEP_SECONDS = 10.0

# A track whose first packet comes so much later in the file than those of the same time begins another recording.
MAX_BEHIND_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Silence to insert before a frame, and how much of its sound to take out: all along, and at its begin. Seconds."""

    gap: float = 0.0
    surplus: float = 0.0
    early: float = 0.0


class Timeline:
    """The time line of one track. `position` is its length so far, in seconds."""

    def __init__(self, *, has_stamps: bool = True) -> None:
        """has_stamps: False for a container without time stamps (AVI): only the start of the track is believed."""
        self.position = 0.0
        self.has_stamps = has_stamps
        self._offset = 0.0
        self._is_empty = True
        self._is_open = False  # the length of the last packet is not known yet
        self._last_seconds = 0.0

    @property
    def total_ms(self) -> int:
        return round(self.position * 1000)

    def add(self, start: float | None, seconds: float | None) -> Placement:
        """Add one packet or frame.

        start: seconds from the start of the recording, None if it has no time stamp.
        seconds: its length, None if it is unknown: then the next time stamp decides.
        """
        if seconds is not None and not 0 <= seconds <= MAX_PACKET_SECONDS:
            seconds = None
        gap = surplus = early = 0.0
        if start is not None and start < 0 and seconds and not self.position:
            early = min(seconds, -start)
            start, seconds = 0.0, seconds - early
        if start is not None and (self.has_stamps or self._is_empty):
            deviation = start + self._offset - self.position
            if self._is_open and 0 < deviation <= MAX_PACKET_SECONDS:
                self.position += deviation
                self._last_seconds = deviation
            elif deviation >= MIN_GAP_SECONDS:
                gap = deviation
            elif deviation < -MAX_SURPLUS_SECONDS or (self._is_empty and deviation < 0):
                self._offset -= deviation
            elif deviation < -MIN_SURPLUS_SECONDS:
                surplus = min(-deviation, (seconds or 0.0) * MAX_SHORTENING)
        elif self._is_open:
            self.position += self._last_seconds
        self._is_open = seconds is None
        self._is_empty = False
        self._last_seconds = seconds or self._last_seconds
        self.position += gap + (seconds or 0.0) - surplus
        return Placement(gap, surplus, early)

    def skip(self, seconds: float) -> None:
        """Lengthen the track by silence."""
        self.position += seconds

    def end(self) -> None:
        """Close a last packet of unknown length: it is taken to be as long as the one before."""
        if self._is_open:
            self.position += self._last_seconds
        self._is_open = False


class Clock:
    """Corrects the time stamps of all tracks of a stream whose clock may restart in the middle (MPEG-TS, MPEG-PS)."""

    def __init__(self) -> None:
        self._latest: dict[int, float] = {}
        self._offsets: dict[int, float] = {}

    def correct(self, track: int, seconds: float) -> float:
        """Return the correction to add to this time stamp: 0.0 until the clock of the track restarts."""
        offset = self._offsets.get(track, 0.0)
        latest = self._latest.get(track)
        if latest is not None and abs(seconds + offset - latest) > MAX_STEP_SECONDS:
            offset = self._restarted(track, seconds, offset=offset, latest=latest)
            self._offsets[track] = offset
        elif latest is None and self._latest:
            offset = self._offsets[track] = self._begun(seconds, newest=max(self._latest.values()))
        self._latest[track] = seconds + offset
        return offset

    def _begun(self, seconds: float, *, newest: float) -> float:
        """Return the correction of a track that begins: far behind the others, it belongs to a joined recording."""
        for shared in (0.0, *self._offsets.values()):
            if newest - (seconds + shared) <= MAX_BEHIND_SECONDS:
                return shared
        return newest - seconds

    def _restarted(self, track: int, seconds: float, *, offset: float, latest: float) -> float:
        others = [one for one in self._latest if one != track]
        for one in others:
            shared = self._offsets.get(one, 0.0)
            if shared != offset and abs(seconds + shared - latest) <= MAX_STEP_SECONDS:
                return shared  # another track has restarted already
        if any(abs(seconds + offset - self._latest[one]) <= MAX_STEP_SECONDS for one in others):
            return offset  # another track walked there: this one has a pause
        return latest - seconds
