"""The compiled passes (`native/`) over bands of rows. They release the GIL, for several threads."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BackendError, ImageError
from pcsr.runtime.geometry.grid import Axis, Floats, Grid, Nearest
from pcsr.runtime.graph_outputs import INFINITE
from pcsr.runtime.mlps import MlpWeights
from pcsr.runtime.routing.rule import NO_LOGITS, Cut

try:
    from pcsr.runtime.cpu._pixels import ffi as ffi
    from pcsr.runtime.cpu._pixels import lib as lib
except ModuleNotFoundError as missing:
    raise BackendError(
        "the native backend needs pcsr's compiled passes, which are not there; run pip install "
        "--no-cache-dir --force-reinstall pcsr on a machine with a C compiler, or pass --backend "
        "onnxruntime"
    ) from missing
except ImportError as broken:
    raise BackendError(
        f"pcsr's compiled passes do not load ({broken}); install pcsr again, or pass "
        "--backend onnxruntime"
    ) from broken

Labels = NDArray[np.uint8]
Seconds = NDArray[np.float64]
PEAKS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 0}


def instructions() -> str:
    """Names the instruction set that the compiled passes use on this processor."""
    return str(ffi.string(lib.pcsr_instructions()).decode())


def has_bf16() -> bool:
    """Tells whether the passes can compute products in bfloat16 here (AVX512_BF16)."""
    return bool(lib.pcsr_has_bf16())


def has_vnni() -> bool:
    """Tells whether this processor multiplies 8-bit integers four at a time (AVX512_VNNI)."""
    return bool(lib.pcsr_has_vnni())


class FeatureBand(NamedTuple):
    """Some rows of an image, as the passes need them."""

    features: Floats
    """[D, n, w], from input row `top` on."""
    top: int
    image: Floats
    """[3, m, w] RGB, from input row `image_top` on, with the rows beside those of the features."""
    image_top: int


class Unrefined(NamedTuple):
    """Output rows that are composed and not refined."""

    planes: Floats
    """[3, n, W] float32 RGB, each plane contiguous."""
    labels: Labels
    """[n, W] uint8, the upsampler of each pixel."""
    difficulty: Floats
    """[n, W] float32."""


class PixelPasses:
    """Runs the passes for one network and one size of output.

    bf16: products of MLPs in bfloat16, sums in float32; an MLP without hidden layers stays float32.

    Raises:
        BackendError: `bf16`, and this processor or the compiled passes have no such instruction.
    """

    def __init__(
        self, mlps: Mapping[str, MlpWeights], grid: Grid, depth: int, bf16: bool = False
    ) -> None:
        if bf16 and not has_bf16():
            raise BackendError(
                "bf16 needs a processor with avx512_bf16 and passes compiled for it, found "
                f"{instructions()} without; use fp32"
            )
        self._grid, self._bf16 = grid, bf16
        self._kept: list[Any] = []  # cffi structs do not keep what they point to alive
        self._feature_rows = 1  # those of one nearest row read, at most
        rows, columns = self._axes(grid, mlps.values())
        alike = {"width": grid.hr_size[1], "rows": rows, "columns": columns, "bf16": bf16}
        self._common = ffi.new("pcsr_band *", alike)[0]
        self._outputs = {role: mlp.outputs for role, mlp in mlps.items()}
        upsamplers = [mlp for role, mlp in mlps.items() if role != "classifier"]
        self._count = len(upsamplers)
        self._upsamplers = self._structs(upsamplers)
        if "classifier" in mlps:
            self._classifier = self._structs([mlps["classifier"]])
        widest = max(depth, *(int(mlp.widths.max()) for mlp in mlps.values()))
        dense = max(int(mlp.widths[0]) for mlp in mlps.values())
        self._scratch_floats = int(lib.pcsr_scratch(widest, dense))

    def logits(
        self,
        band: FeatureBand,
        rows: slice,
        take: Callable[[tuple[int, ...], type[np.float32]], Floats] = np.empty,
    ) -> Floats:
        """Computes the classifier's outputs for some output rows: [K, rows, W]. take: gives an
        array by shape and dtype.
        """
        shape = (self._outputs["classifier"], rows.stop - rows.start, self._grid.hr_size[1])
        out = take(shape, np.float32)
        memory = scratch(self._scratch_floats)
        lib.pcsr_dense(self._band(band, rows), self._classifier, floats(out), memory)
        return out

    def fill(
        self,
        band: FeatureBand,
        rows: slice,
        cut: Cut,
        target: Unrefined,
        seconds: Seconds,
        logits: Floats | None = None,
    ) -> None:
        """Classifies, routes and composes some output rows, with two upsamplers.

        Args:
            target: is written.
            seconds: [5] float64, to which the time is added of the classifier, of routing and,
                behind one that stays, of each upsampler.
            logits: [1, rows, W], what the classifier gives; None computes it.

        Raises:
            ImageError: a logit or a colour is not finite.
        """
        _, labels, difficulty = target
        met = lib.pcsr_fill(
            self._band(band, rows),
            self._classifier,
            ffi.NULL if logits is None else floats(logits),
            (cut.of_difficulty, cut.bound),
            self._upsamplers,
            ffi.from_buffer("uint8_t[]", labels),
            floats(difficulty),
            *_planes(target.planes),
            ffi.from_buffer("double[]", seconds),
            scratch(self._scratch_floats),
        )
        if met != lib.PCSR_FINITE:
            raise ImageError(NO_LOGITS if met == lib.PCSR_LOGITS else INFINITE)

    def compose(
        self, band: FeatureBand, rows: slice, assignment: Labels, out: Floats, seconds: Seconds
    ) -> None:
        """Composes some output rows: base plus residual of each pixel's upsampler, not refined.

        Args:
            assignment: [rows, W].
            out: [3, at least rows, W], each plane contiguous; its first rows are written.
            seconds: [M] float64, to which the time of each upsampler is added.
        """
        lib.pcsr_compose(
            self._band(band, rows),
            self._upsamplers,
            self._count,
            ffi.from_buffer("uint8_t[]", assignment),
            *_planes(out),
            ffi.from_buffer("double[]", seconds),
            scratch(self._scratch_floats),
        )

    def compose_listed(
        self,
        band: FeatureBand,
        rows: slice,
        assignment: Labels,
        chosen: NDArray[np.bool_],
        out: Floats,
        seconds: Seconds,
    ) -> bool:
        """Composes again some pixels of some output rows, those of `chosen` [rows, W]; all others
        of `out` stay. Tells whether all that was composed is finite. The rest as of `compose`.
        """
        room = int(lib.pcsr_listed_room(len(band.features), self._feature_rows))
        memory = scratch(self._scratch_floats + room)
        composed = lib.pcsr_compose_listed(
            self._band(band, rows),
            self._upsamplers,
            self._count,
            self._feature_rows,
            ffi.from_buffer("uint8_t[]", assignment),
            ffi.from_buffer("uint8_t[]", chosen),
            *_planes(out),
            ffi.from_buffer("double[]", seconds),
            memory,
            memory + self._scratch_floats,
        )
        return bool(composed)

    def _band(self, band: FeatureBand, rows: slice) -> Any:  # noqa: ANN401
        depth, height, width = band.features.shape
        view = ffi.new("pcsr_band *", self._common)
        view.depth, view.lr_width = depth, width
        view.top, view.image_top = band.top, band.image_top
        view.first, view.last = rows.start, rows.stop
        view.feature_plane, view.image_plane = height * width, band.image.shape[1] * width
        view.features, view.image = floats(band.features), floats(band.image)
        return view

    def _axes(self, grid: Grid, mlps: Iterable[MlpWeights]) -> tuple[Any, Any]:
        sides: tuple[tuple[Nearest, ...], ...] = ((), ())
        if any(mlp.neighbours == 4 for mlp in mlps):
            sides = grid.sides
            self._feature_rows = 2 * grid.reach_px + 1
        rows, columns = map(self._axis, (grid.rows, grid.columns), sides)
        return rows, columns

    def _axis(self, axis: Axis, sides: Sequence[Nearest]) -> Any:  # noqa: ANN401
        view = ffi.new("pcsr_axis *")
        self._place(view.centre, axis)
        for index, side in enumerate(sides):
            self._place(view.sides[index], side)
        for name in ("lower", "upper"):
            setattr(view, name, self._keep("int32_t[]", getattr(axis, name)))
        view.weight = self._keep("float[]", axis.weight)
        self._kept.append(view)
        return view[0]

    def _place(self, view: Any, place: Axis | Nearest) -> None:  # noqa: ANN401
        view.nearest = self._keep("int32_t[]", place.nearest)
        view.offset = self._keep("float[]", place.offset)

    def _structs(self, mlps: list[MlpWeights]) -> Any:  # noqa: ANN401
        views = ffi.new("pcsr_mlp[]", len(mlps))
        for view, mlp in zip(views, mlps, strict=True):
            view.layers = len(mlp.widths) - 1
            view.neighbours, view.base = mlp.neighbours, mlp.base == "bilinear"
            view.widths = self._keep("int32_t[]", mlp.widths)
            for name in ("feature_weight", "row_weight", "column_weight", "rest"):
                setattr(view, name, self._keep("float[]", getattr(mlp, name)))
            if self._bf16:
                view.feature_pairs = self._keep("uint32_t[]", mlp.feature_pairs)
                view.pairs = self._keep("uint32_t[]", mlp.pairs)
            # Not @, which BLAS rounds otherwise from one processor to the next.
            constant = mlp.bias + (mlp.cell_weight * self._grid.cell).sum(axis=1)
            view.constant = self._keep("float[]", constant.astype(np.float32))
        return views

    def _keep(self, kind: str, array: NDArray[Any]) -> Any:  # noqa: ANN401
        self._kept.append(ffi.from_buffer(kind, np.ascontiguousarray(array)))
        return self._kept[-1]


def finish(
    planes: Floats, assignment: Labels, rows: slice, refine_below: int, out: NDArray[Any]
) -> None:
    """Refines (paper section 3.4) and converts some rows of planes [3, n, W] to out [rows, W, 3]:
    float32 as they are, uint8 and uint16 clipped and rounded (ties to even).

    refine_below: upsamplers below it are heavy; 0 refines nothing. Row 0 and the last one of the
    planes count as the image's own frame.
    """
    height, width = assignment.shape
    lib.pcsr_finish(
        floats(planes),
        ffi.from_buffer("uint8_t[]", assignment),
        height,
        width,
        rows.start,
        rows.stop,
        refine_below,
        PEAKS[out.dtype],
        ffi.from_buffer(out),
        scratch(5 * width),
    )


def counted(labels: Labels, count: int) -> list[int]:
    """Counts how many of the labels each of the first `count` upsamplers has."""
    found = ffi.new("int64_t[]", count)
    lib.pcsr_count(ffi.from_buffer("uint8_t[]", labels), labels.size, count, found)
    return list(found)


def sigmoid(logit: Floats, out: Floats | None = None) -> Floats:
    """Computes 1 / (1 + exp(-logit)), of the same shape. out: where it is written, contiguous."""
    logit = np.ascontiguousarray(logit)
    out = np.empty(logit.shape, dtype=np.float32) if out is None else out
    lib.pcsr_sigmoid(floats(logit), logit.size, floats(out))
    return out


def add_to_histogram(
    values: Floats, table: NDArray[np.float64], first: float = 0.0, last: float = 1.0
) -> None:
    """Adds values to equal bins from `first` to `last`, table [bins, 2] of count and sum."""
    lib.pcsr_histogram(
        floats(values), values.size, first, last, len(table), ffi.from_buffer("double[]", table)
    )


_threads = threading.local()


def scratch(count: int) -> Any:  # noqa: ANN401
    """Returns memory of this thread, so many floats or more, not cleared."""
    held: Floats | None = getattr(_threads, "scratch", None)
    if held is None or held.size < count:
        held = _threads.scratch = np.empty(count, dtype=np.float32)
    return floats(held)


def floats(array: Floats) -> Any:  # noqa: ANN401
    """Gives a contiguous array to the passes."""
    return ffi.from_buffer("float[]", array)


def _planes(out: Floats) -> tuple[Any, int]:
    """Gives where planes [3, n, W] begin, each contiguous, and how far they lie apart."""
    return floats(out[0]), out.strides[0] // out.itemsize
