"""Adds quantised image graphs to a bundle, as good as asked for on the user's images."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from pcsr.amend import commit, new_folder, with_calibration
from pcsr.bundle import Bundle
from pcsr.calibration.images import ImageOptions
from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.errors import BackendError, UsageError
from pcsr.export.graphs.join_splitting import merge_joins
from pcsr.manifest import File, Graph, Manifest
from pcsr.metrics import check_scale
from pcsr.runtime.backends import CPU_SETS
from pcsr.runtime.cpu.pipeline import FloatArray, Runner
from pcsr.runtime.machine import cpu_name, usable_cores
from pcsr.runtime.routing.checks import check_request
from pcsr.runtime.routing.request import RoutingRequest

from .calibration_images import CalibrationImage, read_calibration_images
from .codes import Ranges
from .copies import copyable
from .cpu_graph import cpu_graph
from .quality import QualityBound, QualityComparison
from .ranges import LevelRanges, collect_peaks, collect_ranges
from .report import GraphSetReport, PrecisionReport
from .search import Search, SearchResult
from .speed import Speed, measure_speed, native_runner, serving_runner
from .substitute import SessionRunner, SubstitutePipeline, open_graph
from .tensorrt_graph import grid_of, tensorrt_graph
from .weights.equalisation import equalised
from .weights.moments import Moments, collect_moments
from .weights.rounding import Rounding
from .weights.sums import sums_as_convolutions

_log = logging.getLogger(__name__)
FORMATS = ("int8", "fp8")
METHOD = 4
"""Changes with what is computed, so that no answers of an older pcsr are taken up."""


@dataclass(frozen=True)
class PrecisionOptions(ImageOptions):
    """Says how to quantise."""

    format: str = "int8"
    """`int8` (graphs for CPUs and for TensorRT) or `fp8` (for TensorRT alone)."""
    max_psnr_loss_db: float = 0.05
    """Mean over the images, against fp32 in the same mode."""
    min_fidelity_db: float = 45.0
    """With `lr_only`, where there is no original: the mean PSNR against the fp32 results."""
    lr_only: bool = False
    k: float = 0.0
    """k, adaptive and heavy_ratio are those of `Upscaler`."""
    adaptive: bool = False
    heavy_ratio: float | None = None
    search_px: int = 128
    """Most input pixels each way, in the middle of each image, that candidates are compared on."""
    threads: int | None = None
    """None stands for all cores."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"format must be one of {', '.join(FORMATS)}, found '{self.format}'")
        if not self.max_psnr_loss_db >= 0:
            raise UsageError(f"max_psnr_loss_db must be at least 0, found {self.max_psnr_loss_db}")
        if self.scale is not None:
            check_scale(self.scale)


def calibrate_precision(
    path: Path,
    images: Sequence[Path],
    options: PrecisionOptions,
    watch: ShowProgress = lambda items, _label: nullcontext(items),
) -> PrecisionReport:
    """Adds quantised graphs and the report on them to the bundle at `path`, in place of older ones.

    watch: wraps the loops that take long, to show their progress.

    Raises:
        ImageError: images that cannot be read or are smaller than the network's reach.
        UsageError: an option out of range, or nothing can be quantised within the bound.
        BundleError: no bundle, or a file that does not fit its hash.
    """
    calibration = _Calibration.start(path, images, options, watch)
    with calibration.work:
        report, graphs = calibration.run()
        _write(calibration.bundle, options.format, report, graphs)
    return report


@dataclass(frozen=True)
class _GraphSet:
    """Says how one set of quantised graphs is written."""

    name: str
    platform: str
    """`cpu` or `tensorrt`."""
    write: Callable[[onnx.ModelProto, Ranges, Collection[str], Collection[str]], onnx.ModelProto]
    """(model, ranges, chosen layers, tensors in copies) -> the quantised graph."""


def _graph_sets(precision: str, moments: Mapping[str, Moments]) -> list[_GraphSet]:
    fit = Rounding(moments, grid_of(precision))
    sets = [
        _GraphSet(
            precision,
            "tensorrt",
            lambda model, ranges, chosen, _: tensorrt_graph(model, ranges, chosen, precision, fit),
        )
    ]
    if precision in CPU_SETS:
        write = partial(cpu_graph, rounding=Rounding(moments))
        sets.insert(0, _GraphSet(CPU_SETS[precision], "cpu", write))
    return sets


@dataclass(frozen=True)
class _Calibration:
    """Holds everything that all sets of one run share."""

    bundle: Bundle
    options: PrecisionOptions
    samples: list[CalibrationImage]
    model: onnx.ModelProto
    pipeline: SubstitutePipeline
    work: WorkFile
    watch: ShowProgress

    @classmethod
    def start(
        cls, path: Path, images: Sequence[Path], options: PrecisionOptions, watch: ShowProgress
    ) -> "_Calibration":
        bundle = Bundle.load(path)
        for role in bundle.graphs("fp32"):
            bundle.graph_bytes(role)  # hashes that do not fit are refused at once
        scale = options.scale or bundle.manifest.trained_scale
        request = RoutingRequest(
            options.k, options.adaptive, options.heavy_ratio, refine=options.refine
        )
        check_request(bundle, scale, request)
        least_px = (bundle.manifest.model.receptive_radius_px or 0) + 1
        if options.format in bundle.manifest.calibrations:
            _log.info("the %s graphs that %s has will be replaced", options.format, path)
        with watch(images, "reading images") as watched:
            samples = read_calibration_images(
                watched, scale, options.lr_only, least_px, options.max_pixels
            )
        model = merge_joins(onnx.load_from_string(bundle.graph_bytes(bundle.image_role)))
        model = sums_as_convolutions(model)
        work = WorkFile(path, "precision", _identity(bundle, samples, options))
        pipeline = SubstitutePipeline(bundle, scale, request, options.threads or usable_cores())
        return cls(bundle, options, samples, model, pipeline, work, watch)

    def run(self) -> tuple[PrecisionReport, dict[str, onnx.ModelProto]]:
        peaks = self.work.answer("peaks", self._peaks)
        model = equalised(self.model, {name: np.array(peak) for name, peak in peaks.items()})
        return replace(self, model=model)._quantised()

    def _quantised(self) -> tuple[PrecisionReport, dict[str, onnx.ModelProto]]:
        ranges = self.work.answer("ranges", self._ranges)
        reports, graphs = [], {}
        for one in _graph_sets(self.options.format, self._moments()):
            found = self._search(one, ranges)
            level = ranges[str(found.level)]
            graph = one.write(self.model, level, found.quantised, found.copied)
            graph.graph.name += f"_{one.name.replace('-', '_')}"
            speed = self._speed(graph) if one.platform == "cpu" else None
            reports.append(GraphSetReport(one.platform, one.name, found, speed))
            graphs[one.name] = graph
        return self._report(reports), graphs

    def _peaks(self) -> dict[str, list[float]]:
        with self.watch(self.samples, "channels") as watched:
            found = collect_peaks(self.model, self._inputs(watched), self.pipeline.threads)
            return {name: peaks.tolist() for name, peaks in found.items()}

    def _ranges(self) -> LevelRanges:
        with self.watch(self.samples, "activations") as watched:
            return collect_ranges(self.model, self._inputs(watched), self.pipeline.threads)

    def _moments(self) -> dict[str, Moments]:
        """Takes the middle of each image, since all tensors are held at a time."""
        with self.watch(self._crops(), "correlations") as watched:
            return collect_moments(self.model, self._inputs(watched), self.pipeline.threads)

    def _crops(self) -> list[CalibrationImage]:
        side, scale = self.options.search_px, self.pipeline.scale
        return [sample.centre(side, scale) for sample in self.samples]

    def _inputs(self, samples: Iterable[CalibrationImage]) -> Iterator[FloatArray]:
        """Yields what the runtime gives the image graph."""
        return (image for sample in samples for image in self.pipeline.inputs(sample.lr))

    def _search(self, one: _GraphSet, ranges: LevelRanges) -> SearchResult:
        border = -int(-self.pipeline.scale // 1)
        options, crops = self.options, self._crops()

        return Search(
            one.platform,
            lambda level, *named: one.write(self.model, ranges[str(level)], *named),
            self._open,
            self._copyable if one.platform == "cpu" else lambda _graph: [],
            QualityComparison(self.pipeline, crops, border),
            QualityComparison(self.pipeline, self.samples, border),
            QualityBound(options.max_psnr_loss_db, options.min_fidelity_db),
            self.work,
            self.watch,
        ).run(self.model)

    def _copyable(self, graph: onnx.ModelProto) -> list[str]:
        """Lists the tensors that may be stored in copies: none in ONNX Runtime, which multiplies
        the zeros between groups, so that these would cost more than they are worth.
        """
        try:
            native_runner(self.bundle, self.pipeline.backend, graph, self.pipeline.threads)
        except BackendError:
            return []
        return copyable(graph)

    def _open(self, graph: onnx.ModelProto) -> Runner:
        return SessionRunner(open_graph(graph.SerializeToString(), self.pipeline.threads))

    def _speed(self, graph: onnx.ModelProto) -> Speed:
        threads, bundle, pipeline = self.pipeline.threads, self.bundle, self.pipeline
        fp32 = SessionRunner(open_graph(bundle.graph_bytes(bundle.image_role), threads))
        int8 = serving_runner(bundle, pipeline.backend, graph, self._open(graph), threads)
        sample = max(self.samples, key=lambda sample: sample.lr.size)
        with self.watch([sample], "cpu: speed") as watched:
            (only,) = watched
            return measure_speed(pipeline, only.lr, fp32, int8, bundle)

    def _report(self, sets: Sequence[GraphSetReport]) -> PrecisionReport:
        return PrecisionReport(
            precision=self.options.format,
            bundle=str(self.bundle.path),
            options=asdict(self.options) | {"scale": self.pipeline.scale},
            images=tuple({"file": s.path, "sha256": s.digest} for s in self.samples),
            targets=tuple(sets),
            machine={"processor": cpu_name(), "threads": self.pipeline.threads},
            tools={"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
        )


def _identity(
    bundle: Bundle, samples: Sequence[CalibrationImage], options: PrecisionOptions
) -> dict[str, Any]:
    """Collects what the figures of a candidate depend on; the bound only chooses among them."""
    manifest, given = bundle.manifest, asdict(options)
    bounds = ("max_psnr_loss_db", "min_fidelity_db")
    return {
        "method": METHOD,
        "graphs": {role: graph.sha256 for role, graph in bundle.graphs("fp32").items()},
        "mlps": manifest.mlps.sha256 if manifest.mlps else None,
        "images": [(sample.path, sample.digest) for sample in samples],
        "options": {name: value for name, value in given.items() if name not in bounds},
        "tools": [onnxruntime.__version__, onnx.__version__],
    }


def _write(
    bundle: Bundle,
    precision: str,
    report: PrecisionReport,
    graphs: Mapping[str, onnx.ModelProto],
) -> None:
    role = bundle.image_role
    with new_folder(bundle.path, precision) as folder:
        files: dict[str, File] = {}
        for name, graph in graphs.items():
            file = f"{role}{name.removeprefix(precision)}.onnx"
            (folder.path / file).write_bytes(graph.SerializeToString())
            files[name] = folder.file(file)
        (folder.path / "report.json").write_text(report.to_json(), encoding="utf-8")
        calibration = folder.file("report.json")

        def change(manifest: Manifest) -> Manifest:
            sets = {name: _set(manifest, role, file) for name, file in files.items()}
            manifest = replace(manifest, graphs={**manifest.graphs, **sets})
            return with_calibration(manifest, precision, calibration)

        commit(bundle.path, change)


def _set(manifest: Manifest, role: str, file: File) -> dict[str, Graph]:
    """Returns the fp32 set with another image graph; what runs per pixel stays, not copied."""
    graphs = dict(manifest.graphs["fp32"])
    graphs[role] = replace(graphs[role], file=file.file, sha256=file.sha256)
    return graphs
