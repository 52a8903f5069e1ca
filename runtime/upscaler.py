"""Offers a bundle as a callable: image in, upscaled image and routing out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.single_file import open_bundle

from .backends import Backend, Precision, choose_backend
from .inputs.arguments import checked, refuse_unknown, shown
from .inputs.arrays import is_tensor
from .inputs.scale import whole_as_int
from .inputs.warm_up import noise
from .open import ARGUMENTS, OpenBundle, Opening
from .process.cancellation import Cancellation
from .process.lifetime import Lifetime
from .result import Result, Stats, as_tensors, with_image
from .routing.operating_point import OperatingPoint
from .routing.request import ARGUMENTS as ROUTING
from .routing.request import CallOptions, RoutingOptions, RoutingRequest
from .routing.time_model import Key, Workload

if TYPE_CHECKING:
    from .parts import ImageParts  # needs the compiled passes
    from .sequence.frames import FrameSequence

__all__ = ["Result", "Stats", "Upscaler"]

WARM_UPS = 2  # a device records the second call of a shape, and the host's memory has grown by then


class Upscaler:
    """Upscales images with the graphs of one bundle. Any number of threads may call it at once.

    Examples:
        >>> from pcsr import Upscaler
        >>> upscaler = Upscaler("carn-pcsr/", threads=2)
        >>> result = upscaler(photo, adaptive=True)  # photo: [27, 40, 3] uint8
        >>> result.image.shape, result.image.dtype
        ((108, 160, 3), dtype('uint8'))
        >>> upscaler(photo, scale=2.5, heavy_ratio=0.2).image.shape
        (68, 100, 3)
        >>> upscaler(photo[None].repeat(5, axis=0)).image.shape  # a batch
        (5, 108, 160, 3)

    Args:
        bundle: directory that pcsr-export wrote, or the file of its `--single-file`.
        device: `cpu`, `cuda` or `cuda:N`.
        backend: on the CPU `native` (the backbone in ONNX Runtime, the rest in compiled passes),
            `onnxruntime` (every graph there) or `torch`; on a GPU `tensorrt`, `torch` or
            `onnxruntime`. `auto`: on the CPU native in fp32 and int8 where the passes
            are built, and in bf16, else onnxruntime; on a GPU tensorrt where the bundle has
            engines, else torch. The attribute `backend` says which it is.
        precision: which set of graphs to run (`fp32`, `fp16`, `bf16` as exported; `int8`, `fp8`
            as calibrated). Backend native computes `bf16` from the graphs of fp32, where the
            processor has instructions for it, once its loss was measured (`docs/cpu.md`).
        threads: worker threads of the CPU; None takes the cores this process may use. PyTorch has
            its own, for the whole process: `torch.set_num_threads`.
        tile_px: side of the backbone's tiles in input pixels, without their halo; None chooses it
            by memory. The result does not depend on it.
        passes: what a GPU does behind the backbone: `fused` (Triton kernels), `graphs` (the
            bundle's graphs), or `auto`: fused where Triton is installed.
        cuda_graphs: whether a frame of a shape that was seen before is replayed from a recording.
        may_build: whether TensorRT engines that are missing or stale are built now, which takes
            minutes.
        default: how calls route that name no routing themselves: the options of a call, such as
            `adaptive=True`, `preset="fast"` or `budget_ms=40`.

    Raises:
        UsageError: an option out of range, or the bundle was not calibrated for it.
        BundleError: no bundle, damaged, of a newer format, or without the asked-for precision.
        BackendError: the backend or the device is not there.
        EngineError: there are no TensorRT engines, and none can or may be built.
    """

    def __init__(
        self,
        bundle: Path | str,
        device: str = "cpu",
        backend: Backend | str = "auto",
        precision: Precision | str = "fp32",
        threads: int | None = None,
        tile_px: int | None = None,
        passes: Literal["auto", "fused", "graphs"] | str = "auto",
        cuda_graphs: bool = True,
        may_build: bool = True,
        **default: Unpack[RoutingOptions],
    ) -> None:
        given = {name: value for name, value in locals().items() if name in ARGUMENTS}
        refuse_unknown(default, [*ARGUMENTS, *ROUTING])
        given = checked(given, ARGUMENTS)
        routing = RoutingRequest(**default)
        self._arguments = given | {"bundle": Path(bundle).absolute()} | default
        self.bundle = open_bundle(bundle)
        chosen = choose_backend(backend, given["device"], precision, self.bundle)
        self.backend, self.precision, self.device = chosen, precision, given["device"]
        how = Opening(**given | {"bundle": self.bundle, "backend": chosen})
        self._open = Lifetime(partial(OpenBundle.of, how, routing))

    @property
    def scale(self) -> int | float:
        """The scale that the network was trained for, which calls take that name none."""
        return whole_as_int(self.bundle.manifest.trained_scale)

    def __repr__(self) -> str:
        state = ", closed" if self._open.is_closed else ""
        where = f"{self.backend} on {self.device}, {self.precision}"
        return f"<pcsr.Upscaler of {self.bundle.path}: x{self.scale}, {where}{state}>"

    def __enter__(self) -> Self:
        with self._open.used():  # refuses one that is closed
            return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def opened(self) -> AbstractContextManager[OpenBundle]:
        """Lends what computes its calls to functions of this package that call it otherwise.

        Raises:
            UsageError: it is closed.
        """
        return self._open.used()

    def close(self) -> None:
        """Ends the threads and gives back the memory, once the calls in progress have ended. Calls
        after it raise UsageError; to close twice does nothing more.
        """
        self._open.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the arguments: what unpickles or copies it opens the bundle again."""
        return _opened_again, (type(self), self._arguments)

    @property
    def passes(self) -> str:
        """Tells what is done behind the backbone: `native`, `fused` or `graphs`; `none` for a plain
        network.
        """
        with self._open.used() as now:
            return now.executor.passes

    @property
    def choices(self) -> Sequence[str]:
        """Lines on what was chosen for this device when the bundle was opened, with the
        milliseconds of each way: on a GPU with the backend torch how each kind of convolution is
        computed, on a CPU in bf16 and int8 what computes the backbone.
        """
        with self._open.used() as now:
            return now.executor.choices

    @property
    def kept_shapes(self) -> int:
        """Counts the shapes (size, scale, way of routing) that something is kept for."""
        with self._open.used() as now:
            return now.executor.kept_shapes

    def keep_shapes(self, count: int) -> None:
        """Keeps what a GPU prepares for a shape for the `count` that were used last; 4 if nobody
        asks. Each takes as much of its memory as one image.
        """
        with self._open.used() as now:
            now.executor.keep_shapes(count)

    def forget_shapes(self) -> None:
        """Gives back the memory of all that is kept for shapes."""
        with self._open.used() as now:
            now.executor.forget_shapes()

    @property
    def operating_point(self) -> OperatingPoint:
        """Tells what pcsr-calibrate operating-point wrote into the bundle.

        Raises:
            UsageError: the bundle was not calibrated.
            BundleError: the calibration is damaged.
        """
        with self._open.used() as now:
            return now.planner.point

    def time_key(self, arrays: str = "host") -> Key:
        """Names what the time of a call depends on, but for its size, scale and heavy pixels."""
        with self._open.used() as now:
            return now.planner.key(arrays)

    def work(self, size: tuple[int, int], scale: float) -> Workload:
        """Counts what an image of (height, width) amounts to where a share is set."""
        with self._open.used() as now:
            return now.planner.work(size, scale)

    def __call__(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None = None,
        k: float | None = None,
        *,
        out: Any = None,  # noqa: ANN401
        cancellation: Cancellation | None = None,
        **options: Unpack[CallOptions],
    ) -> Result:
        """Upscales one image, or a batch of images of one size, each routed by itself, to
        round(h * scale) x round(w * scale).

        Args:
            image: [h, w] gray or [h, w, channels] with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4
                (RGBA) channels; uint8, uint16, or float32 nominally in [0, 1]. A NumPy array, or
                anything that speaks DLPack. Of an array on a GPU the results are torch tensors
                there; the work is queued on torch's current stream, and nothing waits for it.
                A batch is [N, h, w, channels], N at least 1.
            scale: at least 1; None takes the scale the network was trained for.
            k: how much an upsampler's cost counts in the routing: 0 (as None) trusts the
                classifier, larger is lighter, faster.
            options: instead of k, `adaptive=True` routes by the image's own spread of difficulties
                (ADM), `heavy_ratio` gives that share in [0, 1] of the pixels to the heavy
                upsampler; by what pcsr-calibrate operating-point found, `preset` (quality,
                balanced, fast), `budget_ms` takes as many heavy pixels as nine calls of ten compute
                within that time, `max_psnr_loss_db` as few as lose no more than that in the mean.
                `adaptive_budget=True` corrects the budget's prediction by the frames before;
                `refine` says whether light pixels beside heavy ones are smoothed (paper section
                3.4), if not as the bundle's manifest says.
            out: where the image is written, and what `result.image` then is: an array of the
                result's shape and dtype, C-contiguous and writable, that does not lie in the
                memory of `image`; not for images on a GPU.
            cancellation: ends the call early.

        A call that names none of these ways routes as the constructor's `default` says.

        Returns the same dtype and channels; float32 results are not clipped. Alpha is upscaled by
        the same network, as a gray image.

        Raises:
            ImageError: an array that is not an image as above.
            UsageError: an option out of range, one that a plain network does not have, an `out`
                that does not fit, or a budget too small for light pixels alone.
            CancelledError: `cancellation` ended the call.
        """
        request = RoutingRequest.of({"k": k, **options})
        return self.run(image, scale, request, cancellation=cancellation, out=out)

    def run(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None,
        request: RoutingRequest,
        on_rows: Callable[[int], None] | None = None,
        cancellation: Cancellation | None = None,
        *,
        out: Any = None,  # noqa: ANN401
    ) -> Result:
        """Upscales as a call does, with its options as one request. `on_rows` is told how many more
        output rows are finished, those of alpha again; a device finishes all at once.
        """
        with self._open.used() as now:
            result = now.upscaled(
                image, scale, request, on_rows, cancellation=cancellation, out=out
            )
        result = as_tensors(result) if is_tensor(image) else result
        return result if out is None else with_image(result, out)

    def stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None = None,
        k: float | None = None,
        *,
        cancellation: Cancellation | None = None,
        **options: Unpack[CallOptions],
    ) -> Stats:
        """Upscales one image and hands its rows [n, W, channels] to `take` from top to bottom, as
        soon as they are finished: the output is never whole in memory. Options as in a call.

        heavy_ratio and budgets keep 4 bytes for each output pixel. A budget does not foresee the
        time that `take` needs.

        Raises:
            ImageError: as a call does; an image with alpha.
            UsageError: as a call does.
            CancelledError: as a call does; `take` has been given whole rows, from the top.
        """
        request = RoutingRequest.of({"k": k, **options})
        return self.run_stream(image, take, scale, request, cancellation)

    def run_stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None,
        request: RoutingRequest,
        cancellation: Cancellation | None = None,
    ) -> Stats:
        """Streams one image as `stream` does, with its options as one request."""
        if not callable(take):
            raise UsageError(f"take must be a function of rows, found {shown(take)}")
        with self._open.used() as now:
            return now.streamed(image, take, scale, request, cancellation)

    def warmup(
        self,
        size: tuple[int, int],
        scale: float | None = None,
        k: float | None = None,
        channels: int = 3,
        dtype: str = "uint8",
        *,
        cancellation: Cancellation | None = None,
        **options: Unpack[CallOptions],
    ) -> None:
        """Pays what first calls of a shape cost: memory, kernels, recordings. Later calls with an
        image of (height, width), the same channels, dtype and options are at their pace.

        Examples:
            >>> from pcsr import Upscaler
            >>> Upscaler("carn-pcsr/").warmup((27, 40), adaptive=True)

        Raises:
            UsageError: as a call does, or a size, channels or dtype that no image has.
            CancelledError: as a call does.
        """
        image = noise(size, channels, dtype)
        request = RoutingRequest.of({"k": k, **options})
        for _ in range(WARM_UPS):
            with self._open.used() as now:
                now.upscaled(image, scale, request, learns=False, cancellation=cancellation)

    def sequence(
        self,
        scale: float | None = None,
        k: float | None = None,
        *,
        reuse: Literal["exact", "off"] | str = "exact",
        within: float = 0,
        **options: Unpack[CallOptions],
    ) -> "FrameSequence":
        """Gives what upscales the frames of one stream, each as a call does, bit for bit, but
        computes of a frame only what changed since the one before. It is a context, which gives
        back what is kept of a frame.

        Frames that equal the one before cost the comparison. On the CPU, with the native backend
        and with plain networks, tiles of a frame are reused as well. Results are read-only arrays.

        Examples:
            >>> from pcsr import Upscaler
            >>> moved = photo.copy()
            >>> moved[:4, :4] = 0
            >>> with Upscaler("carn-pcsr/").sequence(k=0.5) as frames:
            ...     results = [frames(frame) for frame in (photo, photo, moved)]
            >>> results[1].stats.reused_share, results[2].image.shape
            (1.0, (108, 160, 3))

        Args:
            scale: as of a call.
            k: as of a call.
            options: those of a call.
            reuse: `off` computes every frame whole.
            within: how many levels (of 0..255) the pixels of a block of 8x8 may differ from those
                that its result was computed from, and count as unchanged. Above 0 the results are
                no longer those of a call.

        Raises:
            UsageError: as a call does.
        """
        from .sequence.frames import FrameSequence

        request = RoutingRequest.of({"k": k, **options})
        return FrameSequence(self._open, scale, request, reuse, within)

    @contextmanager
    def parts(self) -> Iterator["ImageParts"]:
        """Lends what cuts a large image into bands of rows and computes each of them, in any
        process that opened the same bundle. Their rows are those of a call, bit for bit.

        Examples:
            >>> from pcsr import Upscaler
            >>> with Upscaler("carn-pcsr/").parts() as parts:
            ...     cut = parts.cut(photo, scale=4, count=2)
            ...     rule = cut.rule()  # adaptive and heavy_ratio count in all parts first
            ...     made = [
            ...         parts.upscale(cut, index, photo[part.seen], rule)
            ...         for index, part in enumerate(cut.parts)
            ...     ]
            >>> sum(len(part.pixels) for part in made)
            108

        Raises:
            BackendError, UsageError: the backend or the network needs the whole image.
        """
        from .parts import ImageParts

        with self._open.used() as now:
            parts = ImageParts(now)
            try:
                yield parts
            finally:
                parts.end()

    def completed(
        self, scale: float | None, request: RoutingRequest
    ) -> tuple[float, RoutingRequest]:
        """Gives the scale and the request that count in a call with these, defaults filled in.

        Raises:
            UsageError: one is out of range, does not fit this bundle's network, or needs a
                calibration that the bundle does not have.
        """
        with self._open.used() as now:
            return now.completed(scale, request)

    def resolved(
        self, size: tuple[int, int], scale: float | None, request: RoutingRequest
    ) -> RoutingRequest:
        """Says how an opaque image of (height, width) on the host is routed by a request: a preset
        or a budget as its k or its share of heavy pixels.

        Raises:
            UsageError: as a call does.
        """
        with self._open.used() as now:
            scale, request = now.completed(scale, request)
            return now.planner.resolve(request, scale, size).request


def _opened_again(kind: type[Upscaler], arguments: Mapping[str, Any]) -> Upscaler:
    return kind(**arguments)
