"""The expected times follow what the backend would do."""

from pathlib import Path

from benchmarks.expected import expect, image_stage
from pcsr.bundle import Bundle
from tests.runtime.torch_backend.made import with_precision

SIZE = (540, 960)


def test_joins_are_not_written_in_half_precision(carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = with_precision(Bundle.load(carn_like_bundle), "fp16", tmp_path / "both")
    single, half = (image_stage(bundle, precision, SIZE) for precision in ("fp32", "fp16"))
    assert half.kernels < single.kernels
    assert half.bytes < single.bytes / 2
    stages = expect(bundle, "fp16", SIZE, 0.2)
    assert [stage.name for stage in stages][:3] == ["backbone", "first layers", "dense"]
    assert all(0 < stage.milliseconds < 10 for stage in stages)
