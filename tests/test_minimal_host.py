"""The example host, written from docs/bundle.md alone, computes what the runtime computes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pcsr import Upscaler

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "minimal_host.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("minimal_host", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "single_bundle"])
@pytest.mark.parametrize(
    ("size", "scale", "k"), [((13, 17), 2.5, 0.0), ((1, 5), 4, 0.0), ((9, 8), 3, 0.6)]
)
def test_a_host_from_the_document_equals_the_runtime(
    name: str, size: tuple[int, int], scale: float, k: float, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    if name == "single_bundle":
        k = 0.0  # one upsampler: nothing to weigh
    found = load_example().upscale(bundle, image, scale, k)
    np.testing.assert_allclose(found, Upscaler(bundle)(image, scale, k).image, atol=2e-6)
