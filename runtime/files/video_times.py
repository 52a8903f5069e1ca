"""The timestamps of a stream are made to rise, whatever its file says."""

import heapq
from fractions import Fraction
from math import ceil
from typing import Any

import av

_LEAST_S = Fraction(1, 1000)  # Matroska counts in it
_JUMP_S = 1  # time that goes back further begins anew


class Rising:
    """Makes timestamps in a `time_base` rise strictly, by 1 ms at least where it changes them.

    One that is not after the one before is moved behind it. Where time goes back by more than a
    second, all that follow are moved alike, to go on one step behind the last.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.moved = self.jumps = 0
        """How many timestamps were moved, and how often time began anew."""
        self._least = max(1, ceil(_LEAST_S / time_base))
        self._far = max(1, ceil(_JUMP_S / time_base))
        self._offset = 0
        self._last: int | None = None

    def next(self, time: int | None, step: int) -> int:
        """Takes the next timestamp, or None where there is none: one `step` behind the last."""
        last = self._last
        if time is None:
            found = 0 if last is None else last + step
        else:
            found = time + self._offset
            if last is not None and found <= last:
                found = self._mended(found, last, step)
        self._last = found
        return found

    def _mended(self, found: int, last: int, step: int) -> int:
        if last - found < self._far:
            self.moved += 1
            return last + self._least
        self.jumps += 1
        self._offset += last + step - found
        return last + step

    def warnings(self, what: str) -> list[str]:
        """Says what was changed, one line each."""
        lines = []
        if self.moved:
            lines.append(
                f"the time of {self.moved} {what} was not after the one before, and was moved"
            )
        if self.jumps:
            lines.append(
                f"the time of {what} went back {self.jumps} times, and goes on from where it was"
            )
        return lines


class FrameTimes:
    """Finds the times of decoded frames, in the video stream's `time_base`; `step` is usual.

    AVI and some Matroska files hold only the order of decoding. The times of those packets, sorted,
    are the times of the frames.
    """

    def __init__(self, container: str, time_base: Fraction, step: int) -> None:
        self.rising = Rising(time_base)
        self._step = step
        self._ignores_pts = container == "avi"  # what it says is guessed
        self._has_pts = False
        self._sent: list[int] = []

    def sent(self, packet: "av.Packet[Any]") -> None:
        """Notes a packet that goes to the decoder."""
        if packet.pts is not None and not self._ignores_pts:
            self._has_pts = True
        elif packet.size and packet.dts is not None and not self._has_pts:
            heapq.heappush(self._sent, packet.dts)

    def of(self, frame: av.VideoFrame) -> int:
        """Gives the time of the next frame."""
        time = None if self._ignores_pts else frame.pts
        if time is None and self._sent and not self._has_pts:
            time = heapq.heappop(self._sent)
        return self.rising.next(time, self._step)
