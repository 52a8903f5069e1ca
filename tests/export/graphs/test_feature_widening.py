"""Features with padded channels: no channels are picked at a backbone's end, and results stay."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr import Upscaler
from pcsr.bundle import Bundle
from pcsr.export import exporter
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.export.graphs.channel_padding import GPU_BLOCK, pad_channels
from pcsr.export.graphs.feature_widening import widen_features
from pcsr.export.graphs.folding import FoldedBackbone
from pcsr.export.graphs.join_splitting import split_joins
from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.models import PCSR, make_backbone
from pcsr.runtime.mlps import load_mlps
from tests import checkpoints
from tests.checkpoints import CLASSIFIER, upsamplers

PRECISIONS = ("fp32", "fp16", "bf16")
ROUNDING = 2e-5  # of float32 sums in another order, relative to the largest value


class _Block(nn.Module):
    """conv 3 -> channels, to which a convolution of it is added: one family, the features' own."""

    def __init__(self, channels: int, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        out: Tensor = x + self.second(F.relu(x))
        return out


class _Joined(_Block):
    """A join of what one convolution read and what it made."""

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        return torch.cat([x, self.second(x)], dim=1)


class _HalfOfIt(_Block):
    """What stands at the end knows nothing of channels that are not there."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).softmax(dim=1)


CASES = {
    "residual": (_Block(14), [*range(14)], 16),
    "grouped": (_Block(28, groups=2), [*range(14), *range(16, 30)], 32),
    "joined": (_Joined(7), [*range(7), *range(8, 15)], 15),
    "blocks of 8 already": (_Block(24), [*range(24)], 24),
    "too much work": (_Block(10), [*range(10)], 10),
    "softmax": (_HalfOfIt(14), [*range(14)], 14),
    "never read": (make_backbone("carn", {"nf": 12, "no_upsampling": True}), [*range(12)], 12),
    "srresnet": (
        make_backbone("srresnet", {"nf": 58, "nb": 1, "no_upsampling": True}),
        [*range(58)],
        64,
    ),
}


def _run(model: onnx.ModelProto, image: Tensor) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, {"image": image.numpy()})
    return outputs


def _gathers(model: onnx.ModelProto) -> list[str]:
    return [node.output[0] for node in model.graph.node if node.op_type == "Gather"]


@pytest.mark.parametrize("name", CASES)
def test_features_widen_with_what_they_are_added_to(name: str) -> None:
    encoder, places, count = CASES[name]
    network = PCSR(encoder, upsamplers(2), CLASSIFIER).eval()
    source, *_ = graph_sources(network)
    module = source.module
    assert isinstance(module, FoldedBackbone)
    narrow = copy.deepcopy(module)
    wide = widen_features(export_graph(source, 20), module)
    image = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, *rows = narrow(image)
        widened, *same_rows = module(image)
    assert widened.shape[1] == count
    assert torch.equal(widened[:, places], features)
    assert not np.delete(widened.numpy(), places, axis=1).any()
    for model in (wide, pad_channels(split_joins(wide)), pad_channels(wide, GPU_BLOCK)):
        onnx.checker.check_model(model, full_check=True)
        assert "features" not in _gathers(model)
        assert not _gathers(model) or name == "softmax"
        found = _run(model, image)
        for values, expected in zip(found, [widened, *rows], strict=True):
            atol = ROUNDING * max(1.0, float(expected.abs().max()))
            np.testing.assert_allclose(values, expected.numpy(), atol=atol)
    for ours, theirs in zip(same_rows, rows, strict=True):
        torch.testing.assert_close(ours, theirs, atol=ROUNDING, rtol=ROUNDING)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SRResNet of 14 channels, which become 16."""
    with pytest.MonkeyPatch.context() as patch:
        spec = {"nf": 14, "nb": 2, "no_upsampling": True}
        patch.setitem(checkpoints.BACKBONES, "srresnet", spec)
        network = checkpoints.calmed(checkpoints.pcsr_network("srresnet"))
        data = checkpoints.pcsr_checkpoint(network, "srresnet")
    return checkpoints.save(data, tmp_path_factory.mktemp("ckpt") / "srresnet.pth")


def test_no_exported_backbone_picks_channels(checkpoint: Path, tmp_path: Path) -> None:
    options = ExportOptions(precisions=PRECISIONS)
    bundle = export_bundle(checkpoint, tmp_path / "bundle", options).bundle
    for precision in PRECISIONS:
        model = onnx.load_from_string(bundle.graph_bytes("backbone", precision))
        assert _gathers(model) == []
        assert bundle.graphs(precision)["backbone"].outputs[0].shape[1] == 16
    assert bundle.manifest.model.feature_width == 16
    for mlp in load_mlps(bundle).values():
        assert mlp.feature_weight.shape[1] == 16
        assert mlp.feature_weight[:, :14].any()
        assert not mlp.feature_weight[:, 14:].any()


def test_labels_are_those_of_a_bundle_that_picks_channels(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = export_bundle(checkpoint, tmp_path / "wide", ExportOptions()).bundle
    monkeypatch.setattr(exporter, "widen_features", lambda model, module: model)
    narrow = export_bundle(checkpoint, tmp_path / "narrow", ExportOptions()).bundle
    assert (narrow.manifest.model.feature_width, wide.manifest.model.feature_width) == (14, 16)
    image = np.random.default_rng(0).random((37, 53, 3), dtype=np.float32)
    for options in _ways():
        ours, theirs = (_upscaled(bundle, image, options) for bundle in (wide, narrow))
        np.testing.assert_array_equal(ours[1], theirs[1])
        np.testing.assert_allclose(ours[0], theirs[0], atol=ROUNDING)


def _ways() -> list[dict[str, Any]]:
    return [{"k": 0.0}, {"k": 0.5}, {"adaptive": True}]


def _upscaled(bundle: Bundle, image: NDArray[np.float32], options: dict[str, Any]) -> list[Any]:
    found = Upscaler(bundle.path)(image, 4.0, **options)
    return [found.image, found.assignment]
