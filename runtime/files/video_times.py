"""The timestamps of a stream are made to rise, whatever its file says."""

import heapq
import re
from fractions import Fraction
from math import ceil
from typing import Any

import av
from av.container import InputContainer

from pcsr.errors import ImageError

_LEAST_S = Fraction(1, 1000)  # Matroska counts in it
_GAP_S = 600  # of sound and frames; a longer gap is said
_SHORTFALL_S = Fraction(1, 10)  # how much earlier than stated a file may end
_STATE_DURATIONS = ("mov", "matroska", "avi")  # of others FFmpeg estimates it
_JUMP_STEPS = 4  # time that goes back further begins anew


class Rising:
    """Makes timestamps in a `time_base` rise strictly, by 1 ms at least where it changes them.

    One that is not after the one before is moved behind it. Where time goes back by more than some
    steps, all that follow are moved alike, to go on one step behind the last, until their own times
    are after it again.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.moved = self.jumps = 0
        """How many timestamps were moved, and how often time began anew."""
        self._time_base = time_base
        self._least = max(1, ceil(_LEAST_S / time_base))
        self._gap = 0
        self._offset = 0
        self._last: int | None = None

    def next(self, time: int | None, step: int) -> int:
        """Takes the next timestamp, or None where there is none: one `step` behind the last."""
        last = self._last
        if last is None:
            found = time or 0
        elif time is None:
            found = last + step
        elif time > last:
            self._offset, found = 0, time
            self._gap = max(self._gap, time - last)
        elif time + self._offset > last:
            found = time + self._offset
        else:
            found = self._mended(time + self._offset, last, step)
        self._last = found
        return found

    def _mended(self, found: int, last: int, step: int) -> int:
        if last - found <= _JUMP_STEPS * step:
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
                f"moved the time of {self.moved} of the {what}, which was not after the one before"
            )
        if self.jumps:
            lines.append(
                f"the time of the {what} goes back ({self.jumps} x): what follows was moved"
            )
        gap_s = self._gap * self._time_base
        if gap_s > _GAP_S:
            lines.append(f"there is a gap of {float(gap_s):.0f} s between {what}")
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


class Ends:
    """Finds where a file ends, to compare with where it says that it does."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._found: dict[int, Fraction] = {}

    def saw(self, packet: "av.Packet[Any]") -> None:
        """Notes a packet, of any stream."""
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None:
            end = (time + (packet.duration or 0)) * packet.time_base
            self._found[packet.stream.index] = max(self._found.get(packet.stream.index, end), end)

    def check(self, container: InputContainer, tolerance: Fraction) -> None:
        """Raises ImageError if the file is shorter than it states; warns where that is a guess."""
        tolerance = max(_SHORTFALL_S, tolerance)
        start = min(Fraction(0), Fraction(container.start_time or 0, av.time_base))
        end = max(self._found.values(), default=Fraction(0)) - start
        stated = Fraction(container.duration or 0, av.time_base)
        states = container.format.name.startswith(_STATE_DURATIONS)
        if states and end + tolerance < stated:
            raise ImageError(f"{_shorter(stated, end)}: it is damaged or incomplete; repair it")
        for stream in container.streams:
            own = _seconds(stream.metadata.get("DURATION", ""))
            end = self._found.get(stream.index, Fraction(0))
            if end + tolerance < own:
                self.warnings.append(f"{_shorter(own, end)} of {stream.type}: is it damaged?")


def _shorter(stated: Fraction, found: Fraction) -> str:
    return f"expected {float(stated):.2f} s, found {float(found):.2f}"


def _seconds(text: str) -> Fraction:
    """Reads the tag of Matroska's streams, "01:02:03.500000000"; 0 if it is something else."""
    found = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d{1,12})?)", text, re.ASCII)
    if not found:
        return Fraction(0)
    hours, minutes, seconds = map(Fraction, found.groups())
    return (60 * hours + minutes) * 60 + seconds
