"""bf16 on a CPU opens only for a bundle whose loss was measured."""

from pathlib import Path

import pytest

from pcsr import Bundle, BundleError, Upscaler
from pcsr.runtime.cpu.candidates.gate import has_passed
from tests import checkpoints
from tests.commands import assert_refused, upscale
from tests.exports import ALL_PRECISIONS, Exports


def test_one_that_nobody_measured_is_refused(carn_like_bundle: Path, tmp_path: Path) -> None:
    assert not has_passed(Bundle.load(carn_like_bundle))
    with pytest.raises(BundleError, match="nobody has measured what") as refused:
        Upscaler(carn_like_bundle, precision="bf16")
    (line,) = str(refused.value).splitlines()
    assert "pcsr-export --precision fp32,bf16" in line
    assert f"pcsr-calibrate precision --format bf16 {carn_like_bundle} IMAGES" in line
    ended = upscale(carn_like_bundle, tmp_path, tmp_path / "out", "--precision", "bf16")
    assert_refused(ended, 2, "nobody has measured what")


def test_the_graphs_of_an_export_and_a_calibration_open_it(
    exports: Exports, carn_passed: Path
) -> None:
    exported = exports.of(checkpoints.tiny("fsrcnn"), ALL_PRECISIONS)
    assert has_passed(Bundle.load(exported))
    assert has_passed(Bundle.load(carn_passed))
