"""Exported graphs whose convolutions end in the kernel, on the CPU in the interpreter."""

from typing import Any

import onnx
import pytest
import torch

from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.models import PlainNetwork, make_backbone
from pcsr.runtime.torch_backend import epilogues
from pcsr.runtime.torch_backend.module import OnnxModule
from tests import checkpoints
from tests.runtime.torch_backend import made

# Of tiny plain networks: their arguments, and their number of convolutions with a bias (of CARN's
# 47 the others convolve a part of joined channels, and are the other side of the sum).
NETWORKS: dict[str, tuple[dict[str, Any], int]] = {
    "carn": ({"scale": 4}, 31),
    "fsrcnn": ({"upscale": 4}, 6),  # the deconvolution among them
    "srresnet": ({"upscale": 4}, 9),
}
SAME = 1e-5  # float32 sums in another order
FP16 = 1e-2  # of values about 1, after tens of layers of 11 bits


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, int]:
    """A model, and its number of epilogues."""
    torch.manual_seed(0)
    name: str = request.param
    arguments, count = NETWORKS[name]
    arguments = {**checkpoints.BACKBONES[name], **arguments, "no_upsampling": False}
    plain = PlainNetwork(make_backbone(name, arguments), 4, (0.4, 0.5, 0.6), (1.0, 0.9, 1.1))
    (source,) = graph_sources(plain.eval())
    return export_graph(source, 20), count


def test_they_compute_what_the_operators_compute(
    network: tuple[onnx.ModelProto, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, count = network
    half = made.typed(model, made.TYPES["fp16"][0])
    image = torch.rand(1, 3, 7, 6)
    for data, loss in ((model.SerializeToString(), SAME), (half.SerializeToString(), FP16)):
        monkeypatch.setattr(epilogues, "DEVICES", frozenset())
        plain = OnnxModule(data)
        assert "epilogue" not in "; ".join(plain.choices)
        monkeypatch.setattr(epilogues, "DEVICES", frozenset({"cpu"}))
        fused = OnnxModule(data)
        chosen = "; ".join(fused.choices)
        assert chosen == f"channels first; no fused convolutions; {count} epilogues"
        (expected,), (found,) = plain(image), fused(image)
        assert (found - expected).abs().max() <= loss * max(1.0, expected.abs().max().item())
        assert torch.equal(found, fused(image)[0])
