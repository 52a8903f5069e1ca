"""DeviceRunner on the CPU, through the code that runs on a GPU."""

from pathlib import Path

import pytest
import torch

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError, ImageError
from pcsr.runtime import machine
from pcsr.runtime.gpu.runners import onnxruntime as onnxruntime_runner
from pcsr.runtime.gpu.runners.open import open_runner
from pcsr.runtime.gpu.runners.protocol import DeviceRunner
from tests.runtime.torch_backend import made

CPU = torch.device("cpu")
SAME = 1e-5  # float32 sums in another order
FP16 = 1e-2  # of values about 1, after tens of layers of 11 bits
BACKENDS = ["torch", "onnxruntime"]


def row_inputs(bundle: Bundle, role: str, rows: int) -> tuple[torch.Tensor, ...]:
    features, located, *_ = bundle.graphs("fp32")[role].inputs
    width, neighbours = int(features.shape[1]), [int(size) for size in located.shape[1:]]
    random = torch.Generator().manual_seed(0)
    index = torch.randint(0, 30, (rows, *neighbours), dtype=torch.int32, generator=random)
    row_map = torch.rand(30, width, generator=random)
    offset = torch.rand(*index.shape, 2, generator=random)
    return row_map, index, offset, torch.tensor([0.5, 0.7])


def both(path: Path) -> tuple[Bundle, DeviceRunner, DeviceRunner]:
    bundle = Bundle.load(path)
    first, second = (open_runner(name, bundle, "fp32", CPU) for name in BACKENDS)
    return bundle, first, second


@pytest.mark.parametrize(
    "name", ["carn_like_bundle", "three_way_bundle", "plain_bundle", "liif_bundle"]
)
def test_both_runners_agree(name: str, request: pytest.FixtureRequest) -> None:
    bundle, first, second = both(request.getfixturevalue(name))
    for size in ((9, 14), (12, 5)):
        image = torch.rand(1, 3, *size)
        expected = second.image(image)
        scale = 4 if bundle.kind == "plain" else 1
        assert expected.shape[2:] == (size[0] * scale, size[1] * scale)
        assert (first.image(image) - expected).abs().max() <= SAME
    for role in [role for role in bundle.graphs("fp32") if role not in ("backbone", "network")]:
        inputs = row_inputs(bundle, role, 41)
        expected = second.rows(role, *inputs)
        assert expected.abs().max() > 0
        assert (first.rows(role, *inputs) - expected).abs().max() <= SAME


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision(backend: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    """Features and row maps are float16, in memory that ONNX Runtime reads and writes itself."""
    bundle = made.with_precision(Bundle.load(carn_like_bundle), "fp16", tmp_path / "typed")
    exact, half = (open_runner(backend, bundle, name, CPU) for name in ("fp32", "fp16"))
    image = torch.rand(1, 3, 9, 14)
    found = half.image(image)
    assert found.dtype == torch.float16
    assert 0 < (found - exact.image(image)).abs().max() <= FP16
    features, *rest = row_inputs(bundle, "upsampler_0", 41)
    rounded = features.half()
    residual = half.rows("upsampler_0", rounded, *rest)
    assert residual.dtype == torch.float32
    difference = (residual - exact.rows("upsampler_0", rounded.float(), *rest)).abs().max()
    assert 0 < difference <= FP16


def test_no_rows_and_views(carn_like_bundle: Path) -> None:
    """Tensors that are not contiguous are bound by a copy, not by their first address."""
    bundle, *runners = both(carn_like_bundle)
    features, index, offset, cell = row_inputs(bundle, "classifier", 12)
    turned = features.t().contiguous().t()
    expected = runners[0].rows("classifier", features, index[::2].clone(), offset[::2], cell)
    for runner in runners:
        none = runner.rows("classifier", features, index[:0], offset[:0], cell)
        assert (none.shape, none.dtype) == ((0, 1), torch.float32)
        found = runner.rows("classifier", turned, index[::2], offset[::2], cell)
        assert (found - expected).abs().max() <= SAME


def test_onnxruntime_checks_what_is_bound(carn_like_bundle: Path) -> None:
    bundle, _, runner = both(carn_like_bundle)
    features, index, offset, cell = row_inputs(bundle, "classifier", 12)
    with pytest.raises(ImageError, match="classifier graph"):
        runner.rows("classifier", features.half(), index, offset, cell)
    with pytest.raises(ImageError, match="classifier graph"):
        runner.rows("classifier", features[:, 1:], index, offset, cell)


def test_properties_on_the_cpu(carn_like_bundle: Path) -> None:
    for runner in both(carn_like_bundle)[1:]:
        assert (runner.device, runner.capturable, runner.image_limit) == (CPU, False, None)
        assert runner.rows_limit >= 2**16


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_precision_that_is_not_there(backend: str, carn_like_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no int8 graphs"):
        open_runner(backend, Bundle.load(carn_like_bundle), "int8", CPU)


def test_an_unknown_backend(carn_like_bundle: Path) -> None:
    with pytest.raises(BackendError, match="known: torch, onnxruntime, tensorrt"):
        open_runner("native", Bundle.load(carn_like_bundle), "fp32", CPU)


def test_two_builds_of_onnxruntime_are_refused(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "version", lambda package: "1.0")
    with pytest.raises(BackendError, match="onnxruntime and onnxruntime-gpu are both installed"):
        open_runner("onnxruntime", Bundle.load(carn_like_bundle), "fp32", CPU)


def test_memory_that_runs_out_is_told_from_other_failures() -> None:
    text = "Failed to allocate memory for requested buffer of size 1"
    error = onnxruntime_runner._translated("backbone", RuntimeError(text))
    assert isinstance(error, torch.OutOfMemoryError)
