"""pcsr-calibrate precision: quantised image graphs in a bundle, on the user's images."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from pcsr.calibration.work_file import WorkFile
from pcsr.errors import UsageError
from pcsr.manifest import File, Graph, Manifest
from pcsr.metrics import check_scale
from pcsr.runtime.backends import CPU_SETS
from pcsr.runtime.cpu.backend import FloatArray
from pcsr.runtime.machine import cpu_name, usable_cores
from pcsr.runtime.routing.checks import check_request
from pcsr.runtime.routing.request import RoutingRequest

from .cpu_graph import cpu_graph
from .crops import Sample, read_samples
from .equalisation import equalised
from .layers import rejoined
from .quality import Bound, Judge
from .ranges import AllRanges, as_json, collect_peaks, collect_ranges, from_json
from .report import PrecisionReport, Target
from .search import Found, Search, Watch
from .speed import Speed, measure_speed
from .tensorrt_graph import tensorrt_graph
from .trial import AS_WRITTEN, Setting, Trial, open_graph

FORMATS = ("int8", "fp8")
METHOD = 1
"""Changes with what is computed, so that no answers of an older pcsr are taken up."""


@dataclass(frozen=True)
class PrecisionOptions:
    """How to quantise. format: `int8` (a CPU form and one for TensorRT) or `fp8` (TensorRT alone).

    max_psnr_loss_db: mean over the images, against fp32 in the same mode. min_fidelity_db: for
    lr_only, where there is no original: the mean PSNR against the fp32 results. scale: None for
    the trained one. k, adaptive, heavy_ratio, refine: as of `Upscaler`. search_px: candidates are
    compared on the middle of each image, at most so many input pixels each way; the last ones on
    whole images. threads: None for all cores. max_pixels: height x width that a file may have.
    """

    format: str = "int8"
    max_psnr_loss_db: float = 0.05
    min_fidelity_db: float = 45.0
    lr_only: bool = False
    scale: float | None = None
    k: float = 0.0
    adaptive: bool = False
    heavy_ratio: float | None = None
    refine: bool = True
    search_px: int = 128
    threads: int | None = None
    max_pixels: int = 2**27

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
    watch: Watch = lambda items, _label: nullcontext(items),
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
class _Form:
    """One way of writing a quantised graph. settings: of ONNX Runtime, to compute it as meant."""

    target: str
    set_name: str
    build: Any
    settings: Mapping[str, str] | None


def _forms(precision: str) -> list[_Form]:
    build = partial(tensorrt_graph, precision=precision)
    forms = [_Form("tensorrt", precision, build, AS_WRITTEN)]
    if precision in CPU_SETS:
        forms.insert(0, _Form("cpu", CPU_SETS[precision], cpu_graph, None))
    return forms


@dataclass(frozen=True)
class _Calibration:
    """One run: everything that all forms share."""

    bundle: Bundle
    options: PrecisionOptions
    setting: Setting
    samples: list[Sample]
    model: onnx.ModelProto
    trial: Trial
    work: WorkFile
    watch: Watch

    @classmethod
    def start(
        cls, path: Path, images: Sequence[Path], options: PrecisionOptions, watch: Watch
    ) -> "_Calibration":
        bundle = Bundle.load(path)
        for role in bundle.graphs("fp32"):
            bundle.graph_bytes(role)  # hashes that do not fit are refused at once
        scale = options.scale or bundle.manifest.trained_scale
        request = RoutingRequest(
            options.k, options.adaptive, options.heavy_ratio, refine=options.refine
        )
        check_request(bundle, scale, request)
        setting = Setting(scale, request, options.threads or usable_cores())
        least_px = (bundle.manifest.model.receptive_radius_px or 0) + 1
        with watch(images, "reading images") as watched:
            samples = read_samples(watched, scale, options.lr_only, least_px, options.max_pixels)
        model = rejoined(onnx.load_from_string(bundle.graph_bytes(_role(bundle))))
        work = WorkFile(path, "precision", _identity(bundle, samples, options))
        return cls(bundle, options, setting, samples, model, Trial(bundle, setting), work, watch)

    def run(self) -> tuple[PrecisionReport, dict[str, onnx.ModelProto]]:
        peaks = self.work.answer("peaks", self._peaks)
        model = equalised(self.model, {name: np.array(peak) for name, peak in peaks.items()})
        return replace(self, model=model)._quantised()

    def _quantised(self) -> tuple[PrecisionReport, dict[str, onnx.ModelProto]]:
        ranges = from_json(self.work.answer("ranges", self._ranges))
        targets, graphs = [], {}
        for form in _forms(self.options.format):
            found = self._search(form, ranges)
            graph = _named(form.build(self.model, ranges[found.level], found.quantised), form)
            speed = self._speed(graph) if form.target == "cpu" else None
            targets.append(Target(form.target, form.set_name, found, speed))
            graphs[form.set_name] = graph
        return self._report(targets), graphs

    def _peaks(self) -> dict[str, list[float]]:
        with self.watch(self.samples, "channels") as watched:
            found = collect_peaks(self.model, self._inputs(watched), self.setting.threads)
            return {name: peaks.tolist() for name, peaks in found.items()}

    def _ranges(self) -> dict[str, Any]:
        with self.watch(self.samples, "activations") as watched:
            inputs = self._inputs(watched)
            return as_json(collect_ranges(self.model, inputs, self.setting.threads))

    def _inputs(self, samples: Iterable[Sample]) -> Iterator[FloatArray]:
        """What the runtime gives the image graph."""
        return (image for sample in samples for image in self.trial.inputs(sample.lr))

    def _search(self, form: _Form, ranges: AllRanges) -> Found:
        border = -int(-self.setting.scale // 1)
        side, options = self.options.search_px, self.options
        crops = [sample.centre(side, self.setting.scale) for sample in self.samples]

        def build(level: float, chosen: Collection[str]) -> Any:  # noqa: ANN401
            return self._open(form.build(self.model, ranges[level], chosen), form.settings)

        return Search(
            form.target,
            build,
            Judge(self.trial, crops, border),
            Judge(self.trial, self.samples, border),
            Bound(options.max_psnr_loss_db, options.min_fidelity_db),
            self.work,
            self.watch,
        ).run(self.model)

    def _open(self, graph: onnx.ModelProto, settings: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        extra = () if settings is None else (settings,)
        return open_graph(graph.SerializeToString(), self.setting.threads, *extra)

    def _speed(self, graph: onnx.ModelProto) -> Speed:
        threads, role = self.setting.threads, _role(self.bundle)
        fp32 = open_graph(self.bundle.graph_bytes(role), threads)
        sample = max(self.samples, key=lambda sample: sample.lr.size)
        output = self.bundle.graphs("fp32")[role].outputs[0].name
        with self.watch([sample], "cpu: speed") as watched:
            (only,) = watched
            graphs = {"fp32": fp32, "int8": self._open(graph)}
            return measure_speed(self.trial, only.lr, graphs, output, threads)

    def _report(self, targets: Sequence[Target]) -> PrecisionReport:
        return PrecisionReport(
            precision=self.options.format,
            bundle=str(self.bundle.path),
            options=asdict(self.options) | {"scale": self.setting.scale},
            images=tuple({"file": s.path, "sha256": s.digest} for s in self.samples),
            targets=tuple(targets),
            machine={"processor": cpu_name(), "threads": self.setting.threads},
            tools={"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
        )


def _identity(
    bundle: Bundle, samples: Sequence[Sample], options: PrecisionOptions
) -> dict[str, Any]:
    """All that the figures of a candidate depend on; the bound only chooses among them."""
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


def _role(bundle: Bundle) -> str:
    return "network" if bundle.kind == "plain" else "backbone"


def _named(graph: onnx.ModelProto, form: _Form) -> onnx.ModelProto:
    graph.graph.name = f"{graph.graph.name}_{form.set_name.replace('-', '_')}"
    return graph


def _write(
    bundle: Bundle,
    precision: str,
    report: PrecisionReport,
    graphs: Mapping[str, onnx.ModelProto],
) -> None:
    role = _role(bundle)
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
    """The fp32 set with another image graph; what runs per pixel stays, and is not copied."""
    graphs = dict(manifest.graphs["fp32"])
    graphs[role] = replace(graphs[role], file=file.file, sha256=file.sha256)
    return graphs
