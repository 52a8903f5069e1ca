"""The examples in the docstrings of the public names run, and print what they say."""

import doctest
import shutil
from inspect import getdoc, getmodule, isclass, isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pcsr
from pcsr import batch, errors, images, metrics
from pcsr.batch.storage.manifest import Manifest
from pcsr.batch.storage.places import Place
from pcsr.calibration.evaluation.patches import Patches, upscale_patches
from pcsr.export.exporter import export_bundle
from pcsr.runtime.parts import ImageParts
from pcsr.runtime.result import Stats
from pcsr.runtime.sequence.frames import FrameSequence
from pcsr.runtime.together.batch import upscale_together
from pcsr.tritonserver.model.refusals import refusal
from pcsr.tritonserver.model.settings import Settings
from pcsr.tritonserver.pbtxt import config_text


def functions_and_classes(module: ModuleType) -> list[Any]:
    """The public ones that are defined there."""
    found = [value for name, value in vars(module).items() if not name.startswith("_")]
    return [v for v in found if (isfunction(v) or isclass(v)) and getmodule(v) is module]


PUBLIC = [pcsr.Upscaler, pcsr.Upscaler.warmup, pcsr.Upscaler.sequence, FrameSequence]
PUBLIC += [pcsr.Upscaler.parts, ImageParts]
PUBLIC += [pcsr.Result, Stats, pcsr.upscale_file, pcsr.Cancellation]
PUBLIC += [pcsr.Bundle, export_bundle, errors, batch.Upscale, batch.read_manifest]
PUBLIC += [upscale_together, Patches, upscale_patches]
PUBLIC += [refusal, Settings.read, config_text]
PUBLIC += functions_and_classes(metrics)
PUBLIC += [getattr(images, name) for name in images.__all__ if not name.startswith("SUFFIXES")]


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (27, 40, 3), np.uint8)


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: str(public.__name__))
def test_example(
    public: Any,  # noqa: ANN401
    photo: np.ndarray,
    carn_like_bundle: Path,
    pcsr_ckpt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(carn_like_bundle, "carn-pcsr")
    shutil.copy(pcsr_ckpt, "network.pth")
    Image.fromarray(photo).save("photo.png")
    results = Manifest(Place.of("upscaled"))
    results.write_settings({})
    results.add("run", [{"output": "a.png"}, {"output": "b.png", "error": "damaged"}])
    name = public.__name__
    names = {"np": np, "Path": Path, "photo": photo}
    names |= vars(metrics) if getmodule(public) is metrics else {}
    test = doctest.DocTestParser().get_doctest(getdoc(public) or "", names, name, None, None)
    assert test.examples, f"the docstring of {name} has no example"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
