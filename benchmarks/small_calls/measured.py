"""Times calls of an `Upscaler` and their bare parts in turn."""

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr import Bundle, Upscaler

SCALE = 4
WARM_UPS = 20

Image = NDArray[np.uint8]
Seconds = NDArray[np.float64]


def bare_parts(bundle: Bundle, image: Image, labels: NDArray[np.uint8], threads: int) -> Any:  # noqa: ANN401
    """Gives a function that computes what a call with k computes, and nothing else, in memory that
    is there. With several threads each has one part of the rows.

    image: [h, w, 3]. labels: [H, W], how the call routes.
    """
    from pcsr.runtime.cpu.passes import FeatureBand, PixelPasses, finish, sigmoid
    from pcsr.runtime.geometry.grid import Grid
    from pcsr.runtime.layout import Layout
    from pcsr.runtime.mlps import load_mlps
    from pcsr.runtime.onnxruntime_session import open_session, provider_of, run_options

    session = open_session(bundle, "backbone", "fp32", threads, provider_of("cpu"))
    grid = Grid.make((image.shape[0], image.shape[1]), SCALE)
    passes = PixelPasses(load_mlps(bundle), grid, bundle.manifest.model.feature_width)
    planes = Layout.of(image).to_network(image)
    options, made = run_options(), np.empty((3, *grid.hr_size), dtype=np.float32)
    logits, difficulty = np.empty((2, *grid.hr_size), dtype=np.float32)
    (features,) = session.run(["features"], {"image": planes}, options)
    binding = session.io_binding()
    binding.bind_cpu_input("image", planes)
    place = features.ctypes.data
    binding.bind_output("features", "cpu", 0, features.dtype, features.shape, place)
    band = FeatureBand(features[0], 0, planes[0], 0)
    out, seconds = np.empty((*grid.hr_size, 3), dtype=np.uint8), np.zeros(bundle.upsamplers)
    edges = [grid.hr_size[0] * index // threads for index in range(threads + 1)]
    parts = [slice(first, stop) for first, stop in itertools.pairwise(edges)]
    pool = ThreadPoolExecutor(threads)
    over = map if threads == 1 else pool.map

    def compose(rows: slice) -> None:
        found = passes.logits(band, rows, lambda *_: logits[None, rows])
        sigmoid(found, difficulty[rows])
        passes.compose(band, rows, labels[rows], made[:, rows], seconds)

    def refine(rows: slice) -> None:
        finish(made, labels, rows, 1, out[rows])

    def run() -> Image:
        session.run_with_iobinding(binding, options)
        list(over(compose, parts))
        list(over(refine, parts))
        return out

    return run


def measured(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Seconds]:
    """Times calls in turn: seconds [rounds, 2] by name, of wall and of CPU time."""
    found: dict[str, Seconds] = {name: np.zeros((rounds, 2)) for name in calls}
    for index in range(-WARM_UPS, rounds):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            stop = time.perf_counter(), time.process_time()
            if index >= 0:
                found[name][index] = np.subtract(stop, start)
    return found


def report(bundle: str, size: tuple[int, int], threads: int, rounds: int) -> dict[str, Any]:
    """Measures a bundle with images of (height, width)."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with Upscaler(bundle, backend="native", threads=threads) as upscaler:
        first = upscaler(image, scale=SCALE, refine=True)
        labels = first.assignment
        if labels is None:
            raise SystemExit("a plain network has no passes behind it; give a PCSR bundle")
        bare = bare_parts(Bundle.load(bundle), image, labels, threads)
        if not np.array_equal(bare(), first.image):
            raise SystemExit("the bare parts compute another image than the call")
        call = partial(upscaler, image, scale=SCALE, refine=True)
        found = measured({"call": call, "bare parts": bare}, rounds)
    milliseconds = {
        name: {"median": _ms(np.median(times[:, 0])), "min": _ms(times[:, 0].min())}
        for name, times in found.items()
    }
    beside = found["call"] - found["bare parts"]
    return {
        "size": size,
        "threads": threads,
        "ms": milliseconds,
        "overhead_us": {
            "wall": round(1e6 * float(np.median(beside[:, 0]))),
            "CPU": round(1e6 * float(np.median(beside[:, 1]))),
        },
    }


def _ms(seconds: Any) -> float:  # noqa: ANN401
    return round(1e3 * float(seconds), 3)
