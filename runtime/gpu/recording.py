"""Frames recorded as CUDA graphs, kept for the shapes that were used last."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from pcsr.runtime.torch_backend.capture import captured
from pcsr.runtime.trials.outcome import reason_of

from .frame import AnyFrame, FrameShape
from .passes import StageTimer
from .timing import NoTimer

FRAMES_KEPT = 4
POISON = 77  # no image is of this value alone
MOST_APART = 0.25  # of 255, on average: kernels that are not deterministic round otherwise


def is_same(found: Tensor, expected: Tensor) -> bool:
    """Tells whether two images [H, W, 3] of the same type are the same, up to what kernels that are
    not deterministic may differ in. It waits for the device.
    """
    if torch.equal(found, expected):
        return True
    peak = 1.0 if found.is_floating_point() else float(torch.iinfo(found.dtype).max)
    apart = (found.to(torch.float32) - expected.to(torch.float32)).abs().mean()
    return bool(apart <= MOST_APART / 255 * peak)


class RecordedFrame:
    """Runs a frame, and replays a recording of it from the third run on.

    The first run warms up (kernels are compiled, convolution algorithms chosen), the second one is
    recorded as well, replayed and compared.
    """

    def __init__(self, frame: AnyFrame, enabled: bool) -> None:
        self.frame = frame
        self._enabled = enabled and frame.capturable
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(self, stage: StageTimer) -> None:
        """Queues the frame on the current stream."""
        if self._graph is not None:
            with stage("recorded frame"):
                self._graph.replay()
            return
        self.frame.run(stage)
        if self._enabled and self._is_warm:
            self._record()
        self._is_warm = True

    def _record(self) -> None:
        if (refusal := self.frame.refusal()) is not None:
            self._give_up(refusal)
            return
        out = self.frame.out
        expected = out.clone()
        try:
            graph = captured(
                lambda: self.frame.run(NoTimer().stage), torch.cuda.current_stream(out.device)
            )
        except Exception as error:  # of PyTorch, Triton or CUDA: the frame ran, and can go on so
            self._give_up(reason_of(error))
            return
        out.fill_(POISON)
        graph.replay()
        if is_same(out, expected):
            self._graph = graph
        else:
            out.copy_(expected)
            self._give_up("its replay gave another image")

    def _give_up(self, reason: str) -> None:
        self._enabled = False
        warnings.warn(
            f"a frame of {self.frame.shape.lr_size} runs without a CUDA graph: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )


class FrameCache:
    """Keeps the frames of the shapes that were used last; a new one drops the oldest."""

    def __init__(self) -> None:
        self._most = FRAMES_KEPT
        self._frames: OrderedDict[FrameShape, RecordedFrame] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, shape: FrameShape, make: Callable[[FrameShape], RecordedFrame]) -> RecordedFrame:
        """Gives the frame of a shape; where there is none, it is made."""
        with self._lock:
            if shape not in self._frames:
                while len(self._frames) >= self._most:
                    self._frames.popitem(last=False)
                self._frames[shape] = make(shape)
            self._frames.move_to_end(shape)
            return self._frames[shape]

    def keep(self, count: int) -> None:
        """Raises the number of kept shapes to `count`, where it has been lower."""
        self._most = max(self._most, count)

    def others(self, shape: FrameShape | None) -> int:
        """Counts the kept shapes but for this one."""
        with self._lock:
            return len(self._frames.keys() - {shape})

    def clear(self) -> None:
        """Gives their memory back."""
        with self._lock:
            self._frames.clear()

    def __len__(self) -> int:
        return len(self._frames)
