"""Measures a bundle in bf16 on this CPU, and notes in it that the loss is within a bound."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pcsr.amend import commit
from pcsr.bundle import Bundle
from pcsr.calibration.images import ImageOptions
from pcsr.calibration.precision.calibration_images import CalibrationImage, read_calibration_images
from pcsr.calibration.precision.quality import QualityBound, QualityComparison
from pcsr.calibration.work_file import ShowProgress
from pcsr.errors import UsageError
from pcsr.manifest import Manifest
from pcsr.metrics import Pixels, check_scale
from pcsr.runtime.backends import choose_backend
from pcsr.runtime.cpu.candidates.gate import CALIBRATION
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.machine import cpu_name, usable_cores, versions
from pcsr.runtime.result import Result
from pcsr.runtime.routing.checks import check_request
from pcsr.runtime.routing.request import RoutingRequest

from .report import Bf16Report

BF16 = "bf16"


@dataclass(frozen=True)
class Bf16Options(ImageOptions):
    """Says what is measured, and what loss is allowed; as `PrecisionOptions`."""

    max_psnr_loss_db: float = 0.1
    min_fidelity_db: float = 45.0
    lr_only: bool = False
    k: float = 0.0
    adaptive: bool = False
    heavy_ratio: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.max_psnr_loss_db >= 0:
            raise UsageError(f"max_psnr_loss_db must be at least 0, found {self.max_psnr_loss_db}")
        if self.scale is not None:
            check_scale(self.scale)


def calibrate_bf16(
    path: Path,
    images: Sequence[Path],
    options: Bf16Options,
    watch: ShowProgress = lambda items, _label: nullcontext(items),
) -> Bf16Report:
    """Measures each image in fp32 and in bf16, and notes the loss in the manifest of the bundle at
    `path`, in place of an older note: it may run in bf16 on CPUs from then on.

    watch: wraps the loops that take long, to show their progress.

    Raises:
        ImageError: images that cannot be read or are smaller than the network's reach.
        UsageError: an option out of range, or the loss is larger than allowed; the bundle stays.
        BackendError: nothing here computes bf16 on the CPU.
        BundleError: no bundle, or a file that does not fit its hash.
    """
    bundle = Bundle.load(path)
    scale = options.scale or bundle.manifest.trained_scale
    way = options.k, options.adaptive, options.heavy_ratio
    request = RoutingRequest(*way, refine=options.refine)
    check_request(bundle, scale, request)
    least_px = (bundle.manifest.model.receptive_radius_px or 0) + 1
    with watch(images, "reading images") as watched:
        samples = read_calibration_images(
            watched, scale, options.lr_only, least_px, options.max_pixels
        )
    pipeline = BothPrecisions(bundle, scale, request, options.threads or usable_cores())
    report = _measured(pipeline, samples, options, watch)
    _refuse_loss(report, options)
    commit(bundle.path, lambda manifest: _noted(manifest, report))
    return report


class BothPrecisions:
    """Upscales on the CPU in fp32 and in bf16."""

    def __init__(self, bundle: Bundle, scale: float, request: RoutingRequest, threads: int) -> None:
        self.bundle, self.scale, self.threads, self._request = bundle, scale, threads, request
        exact = choose_backend("auto", "cpu", "fp32", bundle)
        self._upscalers = {
            BF16: HostUpscaler(bundle, "native", BF16, threads, None),
            None: HostUpscaler(bundle, exact, "fp32", threads, None),
        }

    @property
    def choices(self) -> Sequence[str]:
        """Lines on what computes bf16 here."""
        return self._upscalers[BF16].choices

    def run(self, lr: Pixels, graph: Any = None) -> Result:  # noqa: ANN401
        """Upscales an image. graph: "bf16", or None for fp32."""
        return self._upscalers[graph](lr, self.scale, self._request)


def _measured(
    pipeline: BothPrecisions,
    samples: Sequence[CalibrationImage],
    options: Bf16Options,
    watch: ShowProgress,
) -> Bf16Report:
    border = -int(-pipeline.scale // 1)
    with watch(samples, BF16) as watched:
        figures = [
            one
            for sample in watched
            for one in QualityComparison(pipeline, [sample], border).figures(BF16)
        ]
    return Bf16Report(
        bundle=str(pipeline.bundle.path),
        options=asdict(options) | {"scale": pipeline.scale},
        images=tuple(figures),
        digests=tuple(sample.digest for sample in samples),
        choices=tuple(pipeline.choices),
        machine={"processor": cpu_name(), "threads": pipeline.threads},
        tools=versions("onnxruntime", "onnxruntime-gpu", "openvino"),
    )


def _refuse_loss(report: Bf16Report, options: Bf16Options) -> None:
    bound = QualityBound(options.max_psnr_loss_db, options.min_fidelity_db)
    if bound.holds(report.images):
        return
    loss, fidelity = report.mean["psnr_loss_db"], report.mean["fidelity_db"]
    found = f"keeps {fidelity:.2f} dB to fp32, less than --min-fidelity-db"
    limit = options.min_fidelity_db
    if loss is not None:
        found, limit = f"loses {loss:.3f} dB, more than --max-psnr-loss-db", bound.max_psnr_loss_db
    raise UsageError(
        f"bf16 {found} {limit:g} in the mean over the images; {report.bundle} stays as it is: use "
        "--precision fp32 on CPUs"
    )


def _noted(manifest: Manifest, report: Bf16Report) -> Manifest:
    # Not among `calibrations`: readers of this format refuse names there that they do not know.
    kept = [entry for entry in manifest.verification if entry.get("what") != CALIBRATION]
    note = {"what": CALIBRATION, "precision": BF16} | report.summary()
    return replace(manifest, verification=(*kept, note))
