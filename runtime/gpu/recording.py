"""Frames recorded as CUDA graphs, kept for the shapes that were used last."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable

import torch

from .frame import AnyFrame, FrameShape
from .passes import StageTimer
from .timing import NoTimer

FRAMES_KEPT = 4


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
        expected = self.frame.out.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on using the device meanwhile.
            with torch.cuda.graph(
                graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
            ):
                self.frame.run(NoTimer().stage)
        except RuntimeError as error:
            self._give_up(str(error).splitlines()[0])
            return
        graph.replay()
        if torch.equal(self.frame.out, expected):
            self._graph = graph
        else:
            self.frame.out.copy_(expected)
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
