"""Verification vectors: what a bundle says PyTorch makes of its images, and damage to that."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import Bundle, BundleError, Upscaler
from tests import tolerances

Arrays = dict[str, NDArray[Any]]
BUNDLES = ["carn_like_bundle", "three_way_bundle", "single_bundle", "plain_bundle"]


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.getfixturevalue(request.param))


def test_the_runtime_reproduces_every_vector(bundle: Bundle) -> None:
    upscaler = Upscaler(bundle.path)
    for vector in bundle.vectors():
        found = upscaler(vector.image, vector.scale, adaptive=vector.adaptive)
        assert found.image.shape == vector.expected.shape
        assert (vector.assignment is None) == (bundle.kind == "plain")
        if vector.difficulty is not None and found.difficulty is not None:
            gap = np.abs(found.difficulty - vector.difficulty)
            assert gap.max() <= tolerances.DIFFICULTY
        rerouted = np.count_nonzero(np.asarray(found.assignment != vector.assignment))
        assert rerouted <= max(1, tolerances.REROUTED_SHARE * found.image[..., 0].size)
        if rerouted == 0:
            gap = np.abs(found.image - vector.expected)
            assert gap.max() <= tolerances.IMAGE_FP32 * max(1, np.abs(vector.expected).max())


def test_vectors_cover_modes_scales_and_a_larger_image(bundle: Bundle) -> None:
    vectors = bundle.vectors()
    assert len({vector.name for vector in vectors}) == len(vectors)
    routed = bundle.upsamplers > 1
    assert {vector.adaptive for vector in vectors} == ({False, True} if routed else {False})
    assert {vector.scale for vector in vectors} == ({4, 2.5} if bundle.kind == "pcsr" else {4})
    assert max(vector.expected[..., 0].size for vector in vectors) > 65504
    for vector in vectors:
        assert vector.image.dtype == vector.expected.dtype == np.float32
        assert np.array_equal(np.rint(vector.image * 255) / np.float32(255), vector.image)
    labels = [np.unique(v.assignment) for v in vectors if v.assignment is not None]
    assert not labels or len(np.unique(np.concatenate(labels))) == bundle.upsamplers


def test_the_file_is_small(bundle: Bundle) -> None:
    assert bundle.manifest.vectors is not None
    assert (bundle.path / bundle.manifest.vectors.file).stat().st_size < 3.2e6


def _without(part: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: a for name, a in arrays.items() if part not in name}


def _changed(part: str, change: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {n: change(a) if part in n else a for n, a in arrays.items()}


DAMAGES: dict[str, Callable[[Arrays], Arrays]] = {
    "empty": lambda arrays: {},
    "no-image": _without(".image"),
    "no-scale": _without(".scale"),
    "no-mode": _without(".adaptive"),
    "no-assignment": _without(".assignment"),
    "no-difficulty": _without(".difficulty"),
    "float-image": _changed(".image", lambda a: a / 255),
    "gray-image": _changed(".image", lambda a: a[..., 0]),
    "other-scale": _changed(".scale", lambda a: a + 1),
    "nan-scale": _changed(".scale", lambda a: a * np.nan),
    "text-scale": _changed(".scale", lambda a: np.array("four")),
    "short": _changed(".expected", lambda a: a[1:]),
    "float64": _changed(".expected", lambda a: a.astype(np.float64)),
    "nan": _changed(".expected", lambda a: a * np.nan),
    "label-2": _changed(".assignment", lambda a: a + 2),
    "objects": _changed(".scale", lambda a: np.array([None])),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_vectors(case: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))
    with np.load(path / "verification.npz") as file:
        arrays = DAMAGES[case](dict(file))
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    _replace(path, data.getvalue())
    with pytest.raises(BundleError, match=r"verification vectors.*export the bundle again"):
        Bundle.load(path).vectors()


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"no archive"])
def test_vectors_that_are_no_archive(data: bytes, carn_like_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))
    _replace(path, data)
    with pytest.raises(BundleError, match=r"verification vectors.*export the bundle again"):
        Bundle.load(path).vectors()


def _replace(bundle: Path, vectors: bytes) -> None:
    (bundle / "verification.npz").write_bytes(vectors)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["vectors"]["sha256"] = hashlib.sha256(vectors).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_flipped_byte(carn_like_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))
    data = bytearray((path / "verification.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "verification.npz").write_bytes(data)
    with pytest.raises(BundleError, match=r"verification.npz is damaged: sha256"):
        Bundle.load(path).vectors()


def test_a_bundle_without_vectors(carn_like_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"vectors": None}))
    with pytest.raises(BundleError, match="no verification vectors; export"):
        Bundle.load(path).vectors()
