"""Whether images are refined where nobody says: as the training noted."""

from pathlib import Path

import numpy as np
import pytest

from pcsr import Bundle, CheckpointError, Upscaler
from pcsr.export.exporter import ExportOptions, export_bundle
from tests.checkpoints import save, tiny
from tests.examples.test_minimal_host import load_example


@pytest.mark.parametrize("noted", [True, False])
def test_the_bundle_says_whether_images_are_refined(noted: bool, tmp_path: Path) -> None:
    path = save({**tiny("fsrcnn"), "refine": noted}, tmp_path / "tiny.pth")
    bundle = tmp_path / "bundle"
    export_bundle(path, bundle, ExportOptions())
    assert Bundle.load(bundle).manifest.refine is noted
    image = np.random.default_rng(0).random((9, 11, 3), dtype=np.float32)
    upscaler = Upscaler(bundle)
    default, other = upscaler(image).image, upscaler(image, refine=not noted).image
    assert np.array_equal(default, upscaler(image, refine=noted).image)
    assert not np.array_equal(default, other)
    assert np.array_equal(other, Upscaler(bundle, refine=not noted)(image).image)
    host = load_example()
    np.testing.assert_allclose(host.upscale(bundle, image, 4), default, atol=2e-5)


def test_the_default_is_to_refine(carn_like_bundle: Path) -> None:
    assert Bundle.load(carn_like_bundle).manifest.refine is True


def test_another_note_is_refused(tmp_path: Path) -> None:
    path = save({**tiny("fsrcnn"), "refine": "no"}, tmp_path / "tiny.pth")
    with pytest.raises(CheckpointError, match="refine is 'no', expected true or false"):
        export_bundle(path, tmp_path / "bundle", ExportOptions())
    assert not (tmp_path / "bundle").exists()
