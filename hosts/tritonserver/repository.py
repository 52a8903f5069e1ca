"""Writes model repositories: folders from which the server loads its models."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcsr.atomic import atomic_directory, make_folder
from pcsr.bundle import Bundle
from pcsr.errors import OutputError, UsageError
from pcsr.runtime.backends import choose_backend
from pcsr.runtime.devices import parse_device
from pcsr.runtime.routing.planner import Planner
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.time_model import Key, Workload
from pcsr.runtime.upscaler import Upscaler
from pcsr.single_file import SUFFIX, open_bundle

from .model.settings import Settings, refuse_warm_up
from .pbtxt import config_text

CONFIG, VERSION = "config.pbtxt", "1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MODEL_FILE = '''"""A model of pcsr for the Python backend, written by pcsr-serve repository."""

import triton_python_backend_utils as pb_utils

from pcsr.tritonserver import Model


class TritonPythonModel(Model):
    """The class that the server looks for."""

    utils = pb_utils
'''


@dataclass(frozen=True)
class ModelPlan:
    """Describes a model that is to be written."""

    bundle: Path
    name: str
    device: str
    settings: Settings


def plan_models(
    bundles: Sequence[Path], device: str, settings: Settings, name: str | None = None
) -> list[ModelPlan]:
    """Checks the bundles with all options. A model is called as its bundle's folder or file.

    Raises:
        UsageError: an option that does not fit, or a name that no model can have, or has already.
        BundleError, BackendError: a bundle cannot be opened, or cannot be served so.
    """
    if name is not None and len(bundles) > 1:
        raise UsageError(f"--name is for one bundle, found {len(bundles)}; leave it out")
    plans = [
        ModelPlan(bundle, _name(bundle) if name is None else name, device, settings)
        for bundle in bundles
    ]
    names = [plan.name for plan in plans]
    twice = [found for n, found in enumerate(names) if found in names[:n]]
    if twice:
        raise UsageError(
            f"two bundles would both become the model {twice[0]}; write them one by one with --name"
        )
    for plan in plans:
        _check(plan)
    return plans


def write_models(
    plans: Sequence[ModelPlan], repository: Path, overwrite: bool = False
) -> Iterator[Path]:
    """Writes models into a repository, each with a copy of its bundle, and yields their folders.
    Each appears whole or not at all.

    Raises:
        UsageError: the repository lies in one of the bundles.
        OutputError: a model exists and `overwrite` is off, or it cannot be written.
    """
    where = repository.resolve()
    for plan in plans:
        if plan.bundle.resolve() in (where, *where.parents):
            raise UsageError(f"{repository} lies in {plan.bundle} itself; choose another folder")
    make_folder(repository)
    for plan in plans:
        folder = repository / plan.name
        if folder.exists() and not overwrite:
            raise OutputError(f"{folder} exists; pass --overwrite, or choose another --name")
    for plan in plans:
        folder = repository / plan.name
        with atomic_directory(folder, overwrite, _refuse_foreign) as temporary:
            _write(plan, temporary)
        yield folder


def _write(plan: ModelPlan, folder: Path) -> None:
    text = config_text(plan.name, plan.device, plan.settings.parameters)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    version = folder / VERSION
    version.mkdir()
    (version / "model.py").write_text(MODEL_FILE, encoding="utf-8")
    if plan.bundle.is_dir():
        shutil.copytree(plan.bundle, version / "bundle")
    else:
        shutil.copyfile(plan.bundle, version / f"bundle{SUFFIX}")


def _name(bundle: Path) -> str:
    path = bundle.absolute()
    return path.stem if path.suffix == SUFFIX else path.name


def _check(plan: ModelPlan) -> None:
    if NAME.fullmatch(plan.name) is None:
        raise UsageError(
            f"expected a model's name of letters, digits and _ . -, found {plan.name!r:.60}; "
            "choose one with --name"
        )
    if plan.device == "cpu":
        with closing(Upscaler(plan.bundle, plan.device, **plan.settings.opening)) as upscaler:
            scale, _ = upscaler.completed(None, RoutingRequest())
        _check_warm_up(plan.settings, scale)
        return
    parse_device(plan.device)
    bundle, settings = open_bundle(plan.bundle), plan.settings
    choose_backend(settings.backend, plan.device, settings.precision, bundle)
    bundle.graphs(settings.precision)
    scale = bundle.manifest.trained_scale
    _planner(bundle, settings.routing).completed(RoutingRequest(), scale)
    _check_warm_up(settings, scale)


def _check_warm_up(settings: Settings, scale: float) -> None:
    for size in settings.warm_up:
        refuse_warm_up(size, settings.max_output_pixels, "max_output_pixels", scale)


def _planner(bundle: Bundle, routing: Mapping[str, Any]) -> Planner:
    """Makes what checks how a bundle routes, without a device."""
    key = Key("", "cuda", "", "", "", 0, "host")
    return Planner(bundle, RoutingRequest.of(routing), lambda *_: Workload(0, 0), lambda _: key)


def _refuse_foreign(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise OutputError(f"{folder} is no model (no {CONFIG}) and is left alone; name another")
