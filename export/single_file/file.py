"""Writes a bundle as one ONNX file, verified against the bundle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

import pcsr
from pcsr.atomic import atomic_file, refuse_existing
from pcsr.bundle import Bundle
from pcsr.errors import OutputError, UsageError, VerificationError
from pcsr.export.verification.checks import DifferenceCheck, format_checks, refuse_failed
from pcsr.runtime.inputs.arguments import checked
from pcsr.runtime.inputs.scale import SCALE
from pcsr.runtime.routing.checks import check_request
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler
from pcsr.single_file import FORM, MOST_BYTES, PRECISIONS, SUFFIX

from .graph import Baked, Form, build_graph
from .verify import verify

BUNDLE = "the bundle"
REACH_PX = 2  # of bilinear taps, refinement and four neighbours, around what the backbone sees


@dataclass(frozen=True)
class SingleFileOptions:
    """Says what is baked into the file; None takes the bundle's default."""

    scale: float | None = None
    k: float | None = None
    """As of a call; 0 where neither this nor ADM is asked for."""
    adaptive: bool = False
    refine: bool | None = None
    form: Form = "sparse"
    precision: str = "fp32"
    overwrite: bool = False


@dataclass(frozen=True)
class SingleFileResult:
    """Holds a file that was written, and how it compared with the bundle."""

    path: Path
    facts: Mapping[str, str]
    """Its metadata."""
    k: float | None
    """The cost weight; None where another routing, or none, is baked in."""
    checks: Sequence[DifferenceCheck]

    @property
    def report(self) -> str:
        """What was written and the table of comparisons, for a terminal."""
        count, facts = len(self.checks), self.facts
        routing = facts["routing"] if self.k is None else f"k = {self.k:g}"
        parts = [facts[FORM], f"x{float(facts['scale']):g}", routing, facts["precision"]]
        what = ", ".join(part for part in parts if part != "none")
        table = format_checks(self.checks, BUNDLE)
        return f"{table}\nwrote {self.path} ({what}, all {count} comparisons passed)"


def export_single_file(
    bundle_path: Path,
    output: Path,
    options: SingleFileOptions,
    say: Callable[[str], object] = lambda message: None,
    source: Path | None = None,
) -> SingleFileResult:
    """Writes a bundle as one ONNX graph, image in and upscaled image out, verified against
    the bundle in ONNX Runtime; nothing is written unless all of it holds. source: what refusals
    call the network; None for the bundle's path.

    Examples:
        >>> from pathlib import Path
        >>> from pcsr.export.single_file.file import SingleFileOptions, export_single_file
        >>> options = SingleFileOptions(scale=2, adaptive=True)
        >>> written = export_single_file(Path("carn-pcsr"), Path("carn.onnx"), options)
        >>> all(check.passed for check in written.checks)
        True

    Raises:
        UsageError: an option that the network does not have, or the dense form at a scale that is
            no whole number.
        BundleError: no bundle, or one without this precision.
        VerificationError: the graph differs from the bundle beyond tolerance, or is too large.
        OutputError: `output` exists (without `overwrite`) or cannot be written.
    """
    check_output(output, options)
    _check_network(Bundle.load(bundle_path), source or bundle_path, options)
    backend = "auto" if options.precision == "fp32" else "onnxruntime"
    with Upscaler(bundle_path, backend=backend, precision=options.precision) as upscaler:
        baked = _baked(upscaler, options)
        say(f"writing {output} …")
        model = build_graph(upscaler.bundle, baked)
        facts = describe(model, upscaler.bundle, baked)
        data = model.SerializeToString(deterministic=True)
        if len(data) > MOST_BYTES:
            raise VerificationError(
                f"the graph has {len(data):,} bytes, one file holds {MOST_BYTES:,} at most; "
                "nothing was written"
            )
        with atomic_file(output, options.overwrite) as file:
            file.write_bytes(data)
            say("comparing the file with the bundle …")
            checks = verify(upscaler, baked, data)
            refuse_failed(checks, BUNDLE)
    return SingleFileResult(output, facts, baked.k if facts["routing"] == "k" else None, checks)


def check_output(output: Path, options: SingleFileOptions) -> None:
    """Raises UsageError where options cannot be baked, whatever the network, and OutputError where
    the file may not be written.
    """
    if output.suffix != SUFFIX:
        raise UsageError(f"the name of a file for --single-file ends in {SUFFIX}, found {output}")
    checked({"scale": options.scale}, SCALE)
    _request(options)
    if not output.parent.is_dir():
        raise OutputError(
            f"cannot write {output}: {output.parent} is not a directory; create it first"
        )
    refuse_existing(output, options.overwrite)
    if options.precision not in PRECISIONS:
        raise UsageError(
            f"one file holds one precision, {' or '.join(PRECISIONS)}, found '{options.precision}'"
        )
    scale = options.scale
    if options.form == "dense" and scale is not None and scale != int(scale):
        raise UsageError(
            f"the dense form takes whole scales alone, found {scale:g}; use --form sparse"
        )


def describe(model: onnx.ModelProto, bundle: Bundle, baked: Baked) -> Mapping[str, str]:
    """Names the graph, and says in the model's metadata what it is, which is returned."""
    manifest = bundle.manifest
    routing = "none" if bundle.upsamplers < 2 else "adaptive" if baked.k is None else "k"
    facts = {
        "version": pcsr.__version__,
        "kind": bundle.kind,
        "backbone": manifest.model.backbone,
        "scale": f"{baked.scale:.17g}",
        FORM: "plain" if bundle.kind == "plain" else baked.form,
        "routing": routing,
        "refine": str(baked.refine and routing != "none").lower(),
        "precision": baked.precision,
        "receptive_radius_px": _radius(bundle, routing),
        "checkpoint_sha256": manifest.checkpoint_sha256,
    }
    onnx.helper.set_model_props(model, {f"pcsr.{name}": text for name, text in facts.items()})
    model.producer_name, model.producer_version = "pcsr", pcsr.__version__
    form, sha256 = facts[FORM], manifest.checkpoint_sha256[:12]
    model.graph.name = f"{manifest.model.backbone}_{form}_x{baked.scale:g}_{routing}_{sha256}"
    return facts


def _radius(bundle: Bundle, routing: str) -> str:
    """Tells how far (input pixels) a pixel's value depends on others; ADM looks everywhere."""
    radius_px = bundle.manifest.model.receptive_radius_px
    if radius_px is None or routing == "adaptive":
        return "none"
    return str(radius_px if bundle.kind == "plain" else radius_px + REACH_PX)


def _request(options: SingleFileOptions) -> RoutingRequest:
    return RoutingRequest(k=options.k, adaptive=options.adaptive, refine=options.refine)


def _check_network(bundle: Bundle, source: Path, options: SingleFileOptions) -> None:
    """Raises UsageError where the network does not have what is to be baked in."""
    scale = bundle.manifest.trained_scale if options.scale is None else options.scale
    check_request(replace(bundle, path=source), scale, _request(options))


def _baked(upscaler: Upscaler, options: SingleFileOptions) -> Baked:
    scale, request = upscaler.completed(options.scale, _request(options))
    k = None if request.adaptive else request.cost_weight
    baked = Baked(scale, k, bool(request.refine), options.form, options.precision)
    if options.form == "dense" and baked.whole_scale is None:
        raise UsageError(f"the dense form takes whole scales alone, found {scale:g}; pass --scale")
    return baked
