"""The seam between `Upscaler` and what computes its images: the CPU's side, or a device's."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from .layout import Layout
from .process.cancellation import Cancellation
from .result import Result, Stats
from .routing.feedback import Ready
from .routing.request import RoutingRequest


class Executor(Protocol):
    """Computes the images of one bundle in one place. Any number of threads may call it."""

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""

    @property
    def machine(self) -> str:
        """The name of the processor that times belong to."""

    @property
    def threads(self) -> int:
        """Tells how many threads of the CPU compute; 0 where a GPU does."""

    @property
    def passes(self) -> str:
        """Tells what follows the backbone: `native`, `fused` or `graphs`; `none` for a plain
        network.
        """

    @property
    def choices(self) -> Sequence[str]:
        """Lines on what was chosen for this device when the bundle was opened."""
        return ()

    @property
    def kept_shapes(self) -> int:
        """Tells how many shapes (size, scale, way of routing) something is kept for."""

    def keep_shapes(self, count: int) -> None:
        """Keeps what is prepared for a shape for at least the `count` that were used last."""

    def forget_shapes(self) -> None:
        """Gives back the memory of all that is kept for shapes."""

    def close(self) -> None:
        """Ends its threads and gives back its memory; nobody calls it any more."""

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        """Counts the input pixels that the backbone computes of an image of (height, width), halos
        and repeated passes included, where a share of heavy pixels is asked for.
        """

    def look(self, image: Any) -> tuple[Any, Layout]:  # noqa: ANN401
        """Takes a caller's image as an array or a tensor, where it is, with its layout.

        Raises:
            ImageError: it is no image.
        """

    def __call__(
        self,
        pixels: Any,  # noqa: ANN401
        scale: float,
        request: RoutingRequest,
        took: Callable[[Ready], None] | None = None,
        on_rows: Callable[[int], None] | None = None,
        cancellation: Cancellation | None = None,
        out: NDArray[Any] | None = None,
    ) -> Result:
        """Upscales what `look` returned. The request is complete and needs no calibration; `took`
        is told how to ask for the time of the call, `on_rows` how many more rows are finished.
        out: where the image is written, for arrays in the host's memory: C-contiguous, of the
        result's shape and dtype.

        Raises:
            CancelledError: as `Upscaler.__call__`; the same of `stream`.
        """

    def over_images(
        self, count: int, size: tuple[int, int], compute: Callable[["Executor", int], None]
    ) -> None:
        """Computes a batch of images of (height, width): calls `compute` with an executor and an
        index, for each of them; several at once where that is faster.
        """
        for index in range(count):
            compute(self, index)

    def stream(
        self,
        pixels: Any,  # noqa: ANN401
        take: Callable[[Any], None],
        scale: float,
        request: RoutingRequest,
        cancellation: Cancellation | None = None,
    ) -> Stats:
        """Upscales an image in the host's memory and hands its rows to `take`, top to bottom."""
