"""What tests share is exported once, told apart by all that makes it, and never changed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests import checkpoints
from tests.exports import Exports, graphs_made_once


class Sum(nn.Module):
    """x + shift"""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([shift]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.shift


def test_a_graph_is_exported_again_where_anything_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, zero = _Exporter(), torch.zeros(2)
    monkeypatch.setattr(torch.onnx, "export", exporter)
    cases = [(1.0, zero, 20), (2.0, zero, 20), (1.0, zero + 1, 20), (1.0, zero, 22)]
    with graphs_made_once(tmp_path):
        for shift, image, opset in cases * 2:
            torch.onnx.export(Sum(shift), (image,), opset_version=opset)
    assert exporter.calls == [(1.0, 20), (2.0, 20), (1.0, 20), (1.0, 22)]


class _Exporter:
    """Stands in for PyTorch's and keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    def __call__(self, module: Sum, args: object, **options: int) -> "_Exporter":
        self.calls.append((module.shift.item(), options["opset_version"]))
        return self

    @property
    def model_proto(self) -> "_Exporter":
        return self

    def SerializeToString(self) -> bytes:  # as a protocol buffer
        return b""


def test_a_bundle_is_exported_once_and_a_change_of_it_is_found(tmp_path: Path) -> None:
    exports = Exports(tmp_path)
    bundle = exports.of(checkpoints.plain_checkpoint())
    written = (bundle / "manifest.json").stat().st_mtime_ns
    again = Exports(tmp_path)  # as another process has it
    assert again.of_file(bundle.with_name("network.pth")) == bundle
    assert (bundle / "manifest.json").stat().st_mtime_ns == written
    again.verify()
    (bundle / "engines").mkdir()
    with pytest.raises(AssertionError, match=r"tests changed bundles that all share: .*bundle"):
        again.verify()
