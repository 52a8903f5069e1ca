"""What ONNX Runtime was told of arrays is used again for those that lie in the same places."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import Bundle
from pcsr.runtime.cpu import onnxruntime
from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner

Floats = NDArray[np.float32]


def _image(seed: int, size: tuple[int, int] = (40, 30)) -> Floats:
    return np.random.default_rng(seed).random((1, 3, *size), dtype=np.float32)


def _fresh(bundle: Bundle, image: Floats) -> Floats:
    runner = OnnxRuntimeRunner(bundle, "fp32", 1, ["backbone"])
    return runner.run_image("backbone", image, ("features",))[0]


def test_features_are_those_of_a_fresh_session(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    runner = OnnxRuntimeRunner(bundle, "fp32", 1, ["backbone"])
    place, held = _image(0), []
    for seed in range(6):  # one place of images; features are held at times
        place[:] = _image(seed)
        found = runner.run_image("backbone", place, ("features",))[0]
        assert np.array_equal(found, _fresh(bundle, _image(seed)))
        held += [found] if seed % 2 else []
    assert not np.array_equal(held[0], held[1])
    flat = place.reshape(1, 3, 30, 40)  # the same place, another shape
    found = runner.run_image("backbone", flat, ("features",))[0]
    assert np.array_equal(found, _fresh(bundle, flat.copy()))
    turned = _image(7, (30, 40)).transpose(0, 1, 3, 2)
    found = runner.run_image("backbone", turned, ("features",))[0]
    assert np.array_equal(found, _fresh(bundle, turned.copy()))


def test_bindings_are_made_once_and_few_are_kept(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = OnnxRuntimeRunner(Bundle.load(carn_like_bundle), "fp32", 1, ["backbone"])
    session, made = runner._sessions["backbone"], list[Any]()
    original = session.io_binding

    def counting() -> Any:  # noqa: ANN401
        made.append(original())
        return made[-1]

    monkeypatch.setattr(session, "io_binding", counting)
    image = _image(0)
    for _ in range(5):
        runner.run_image("backbone", image, ("features",))
    assert len(made) == 1
    images = [_image(seed) for seed in range(3 * onnxruntime.KEPT_BINDINGS)]
    for image in images:
        runner.run_image("backbone", image, ("features",))
    assert len(runner._bindings._kept) <= onnxruntime.KEPT_BINDINGS
