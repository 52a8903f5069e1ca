"""The compiled per-pixel passes (`native/`): classifier, upsamplers with the bilinear base, and
refinement with conversion, on bands of rows. They release the GIL; call them from several threads.
"""

import io
import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BackendError

from .grid import Axis, Floats, Grid

try:
    from ._pixels import ffi, lib
except ModuleNotFoundError as missing:
    raise BackendError(
        "the native backend needs pcsr's compiled passes, which are not there; install pcsr with "
        "pip on a machine with a C compiler, or pass --backend onnxruntime"
    ) from missing
except ImportError as broken:
    raise BackendError(
        f"pcsr's compiled passes do not load ({broken}); install pcsr again, or pass "
        "--backend onnxruntime"
    ) from broken

Labels = NDArray[np.uint8]
PEAKS = {"uint8": 255, "uint16": 65535, "float32": 0}


@dataclass(frozen=True)
class Mlp:
    """A folded MLP. feature_weight [C, D], row_weight, column_weight, bias [C], cell_weight [C, 2]
    make its first layer; `rest` is all that follows, one layer after another: weight
    [outputs, inputs], bias [outputs]. widths: C, then the outputs of each layer.
    """

    widths: NDArray[np.int32]
    feature_weight: Floats
    row_weight: Floats
    column_weight: Floats
    cell_weight: Floats
    bias: Floats
    rest: Floats

    @classmethod
    def of(cls, arrays: Mapping[str, Floats]) -> "Mlp":
        """From the arrays of a bundle's mlps.npz, without the role in their names."""
        parts, widths = [np.zeros(0, np.float32)], [len(arrays["bias"])]
        while (weight := arrays.get(f"weight_{len(widths)}")) is not None:
            if weight.shape[1] != widths[-1]:
                raise ValueError(f"a layer of {weight.shape[1]} inputs behind {widths[-1]} outputs")
            parts += [weight.ravel(), arrays[f"bias_{len(widths)}"]]
            widths.append(weight.shape[0])
        names = [field.name for field in fields(cls)][1:-1]
        first = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in names}
        rest = np.concatenate(parts, dtype=np.float32)
        return cls(np.array(widths, np.int32), **first, rest=rest)

    @property
    def outputs(self) -> int:
        """Values per pixel."""
        return int(self.widths[-1])


def read_mlps(data: bytes, depth: int, upsamplers: int) -> dict[str, Mlp]:
    """The MLPs of a bundle's mlps.npz by role, classifier first (M > 1), then from heavy to light.

    depth: D of the features. upsamplers: M.

    Raises:
        ValueError: it is damaged, or does not fit such a network.
    """
    roles = {f"upsampler_{j}": 3 for j in range(upsamplers)}
    if upsamplers > 1:
        roles = {"classifier": 1 if upsamplers == 2 else upsamplers} | roles
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (BadZipFile, EOFError, OSError, TypeError, AttributeError) as error:
        raise ValueError(f"not an npz file: {error}") from error
    found = {name.partition(".")[0] for name in arrays}
    if found != set(roles):
        raise ValueError(f"expected {', '.join(roles)}, found {', '.join(sorted(found)) or 'none'}")
    return {role: _mlp(role, arrays, depth, outputs) for role, outputs in roles.items()}


def _mlp(role: str, arrays: Mapping[str, NDArray[Any]], depth: int, outputs: int) -> Mlp:
    own = {
        name.partition(".")[2]: array
        for name, array in arrays.items()
        if name.startswith(f"{role}.")
    }
    try:
        mlp = Mlp.of(own)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{role}: {error!r}") from error
    width = int(mlp.widths[0])
    expected = {
        "feature_weight": (width, depth),
        "row_weight": (width,),
        "column_weight": (width,),
        "cell_weight": (width, 2),
        "bias": (width,),
    }
    layers = itertools.pairwise(mlp.widths.tolist())
    numbers = sum((inputs + 1) * results for inputs, results in layers)
    fits = all(getattr(mlp, name).shape == shape for name, shape in expected.items())
    if not fits or mlp.rest.shape != (numbers,) or mlp.outputs != outputs:
        raise ValueError(f"{role}: its shapes do not fit {depth} features and {outputs} outputs")
    if not all(np.isfinite(getattr(mlp, name)).all() for name in (*expected, "rest")):
        raise ValueError(f"{role}: it holds NaN or infinite values")
    return mlp


@dataclass(frozen=True)
class Band:
    """Some rows of an image. features: [D, n, w], from input row `top` on. image: [3, m, w] RGB,
    from input row `image_top` on; it holds the rows beside those too, for the bilinear base.
    """

    features: Floats
    top: int
    image: Floats
    image_top: int


class PixelPasses:
    """The passes for one network and one size of output."""

    def __init__(self, mlps: Mapping[str, Mlp], grid: Grid, depth: int) -> None:
        self._grid = grid
        self._kept: list[Any] = []  # cffi structs do not keep what they point to alive
        self._rows, self._columns = self._axis(grid.rows), self._axis(grid.columns)
        self._outputs = {role: mlp.outputs for role, mlp in mlps.items()}
        upsamplers = [mlp for role, mlp in mlps.items() if role != "classifier"]
        self._count = len(upsamplers)
        self._upsamplers = self._structs(upsamplers)
        if "classifier" in mlps:
            self._classifier = self._structs([mlps["classifier"]])
        widest = max(depth, *(int(mlp.widths.max()) for mlp in mlps.values()))
        dense = max(int(mlp.widths[0]) for mlp in mlps.values())
        self._scratch_floats = int(lib.pcsr_scratch(widest, dense))

    def logits(self, band: Band, rows: slice) -> Floats:
        """The classifier's outputs for some output rows: [K, rows, W]."""
        shape = (self._outputs["classifier"], rows.stop - rows.start, self._grid.hr_size[1])
        out = np.empty(shape, dtype=np.float32)
        lib.pcsr_dense(self._band(band, rows), self._classifier, _floats(out), self._scratch())
        return out

    def compose(self, band: Band, rows: slice, assignment: Labels, out: Floats) -> None:
        """Bilinear base plus the residual of each pixel's upsampler, not refined. assignment:
        [rows, W]. Writes the first rows of out [3, at least rows, W], each plane contiguous.
        """
        plane = out.strides[0] // out.itemsize
        lib.pcsr_compose(
            self._band(band, rows),
            self._upsamplers,
            self._count,
            ffi.from_buffer("uint8_t[]", assignment),
            ffi.cast("float *", out.ctypes.data),
            plane,
            self._scratch(),
        )

    def _scratch(self) -> Any:  # noqa: ANN401
        return _floats(_scratch(self._scratch_floats))

    def _band(self, band: Band, rows: slice) -> Any:  # noqa: ANN401
        depth, height, width = band.features.shape
        view = ffi.new("pcsr_band *")
        view.depth, view.lr_width, view.width = depth, width, self._grid.hr_size[1]
        view.top, view.image_top = band.top, band.image_top
        view.first, view.last = rows.start, rows.stop
        view.feature_plane, view.image_plane = height * width, band.image.shape[1] * width
        view.features, view.image = _floats(band.features), _floats(band.image)
        view.rows, view.columns = self._rows, self._columns
        return view

    def _axis(self, axis: Axis) -> Any:  # noqa: ANN401
        view = ffi.new("pcsr_axis *")
        for name, kind in (
            ("nearest", "int32_t[]"),
            ("lower", "int32_t[]"),
            ("upper", "int32_t[]"),
            ("offset", "float[]"),
            ("weight", "float[]"),
        ):
            setattr(view, name, self._keep(kind, getattr(axis, name)))
        self._kept.append(view)
        return view[0]

    def _structs(self, mlps: list[Mlp]) -> Any:  # noqa: ANN401
        views = ffi.new("pcsr_mlp[]", len(mlps))
        for view, mlp in zip(views, mlps, strict=True):
            view.layers = len(mlp.widths) - 1
            view.widths = self._keep("int32_t[]", mlp.widths)
            for name in ("feature_weight", "row_weight", "column_weight", "rest"):
                setattr(view, name, self._keep("float[]", getattr(mlp, name)))
            constant = mlp.bias + mlp.cell_weight @ self._grid.cell
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
        _floats(planes),
        ffi.from_buffer("uint8_t[]", assignment),
        height,
        width,
        rows.start,
        rows.stop,
        refine_below,
        PEAKS[out.dtype.name],
        ffi.from_buffer(out),
        _floats(_scratch(5 * width)),
    )


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + exp(-logit)), of the same shape."""
    logit, out = np.ascontiguousarray(logit), np.empty(logit.shape, dtype=np.float32)
    lib.pcsr_sigmoid(_floats(logit), logit.size, _floats(out))
    return out


def add_to_histogram(
    values: Floats, table: NDArray[np.float64], first: float = 0.0, last: float = 1.0
) -> None:
    """Adds values to equal bins from `first` to `last`, table [bins, 2] of count and sum."""
    lib.pcsr_histogram(
        _floats(values), values.size, first, last, len(table), ffi.from_buffer("double[]", table)
    )


_threads = threading.local()


def _scratch(floats: int) -> Floats:
    """Memory of this thread, at least that large; not cleared."""
    held: Floats | None = getattr(_threads, "scratch", None)
    if held is None or held.size < floats:
        held = _threads.scratch = np.empty(floats, dtype=np.float32)
    return held


def _floats(array: Floats) -> Any:  # noqa: ANN401
    return ffi.from_buffer("float[]", array)
