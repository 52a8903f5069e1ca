"""IMDN with collapsible linear blocks: the paper's counts, and collapse that changes nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pcsr import Upscaler
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.export.graphs.folding import deployable
from pcsr.models import IMDN, PCSR
from pcsr.models.backbones.imdn import CollapsibleConv, collapse
from tests.checkpoints import pcsr_checkpoint, save, upsamplers


@pytest.mark.parametrize(("blocks", "parameters"), [(7, 790_496), (8, 893_936)])
def test_collapsed_parameter_counts_are_the_papers(blocks: int, parameters: int) -> None:
    network = collapse(IMDN(nb=blocks))
    assert sum(p.numel() for p in network.parameters()) == parameters
    collapsed = IMDN(nb=blocks, collapsed=True)
    assert sum(p.numel() for p in collapsed.parameters()) == parameters


@pytest.mark.parametrize("size", [(1, 1), (9, 7)])
@pytest.mark.parametrize("single_branch", [collapse, deployable], ids=["function", "export"])
def test_collapse_computes_the_same(
    size: tuple[int, int], single_branch: Callable[[IMDN], nn.Module]
) -> None:
    torch.manual_seed(0)
    network = IMDN(nf=24, nb=2).eval()
    single = single_branch(network)
    assert not any(isinstance(module, CollapsibleConv) for module in single.modules())
    image = torch.rand(1, 3, *size)
    torch.testing.assert_close(single(image), network(image), atol=1e-5, rtol=1e-5)


def test_one_convolution_collapses_to_one() -> None:
    torch.manual_seed(0)
    conv = CollapsibleConv(5, 3)
    single = conv.collapse()
    assert isinstance(single, nn.Conv2d)
    assert single.weight.shape == (3, 5, 3, 3)
    x = torch.rand(2, 5, 6, 7)
    torch.testing.assert_close(single(x), conv(x), atol=1e-6, rtol=1e-5)


def test_a_collapsed_network_loads_into_the_collapsed_form() -> None:
    network = IMDN(nf=24, nb=1)
    collapsed = IMDN(nf=24, nb=1, collapsed=True)
    collapsed.load_state_dict(collapse(network).state_dict(), strict=True)


def test_it_is_exported_as_a_plain_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IMDN(nf=24, nb=1, scale=2)
    model = {"name": "imdn", "args": {"nf": 24, "nb": 1, "scale": 2}, "sd": network.state_dict()}
    exported = export_bundle(
        save({"model": model}, tmp_path / "imdn.pth"), tmp_path / "bundle", ExportOptions()
    )
    assert Upscaler(exported.bundle.path)(np.zeros((5, 6, 3), np.uint8)).image.shape == (10, 12, 3)


def test_it_is_exported_as_a_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    args = {"nf": 24, "nb": 1, "no_upsampling": True}
    network = PCSR(IMDN(**args), upsamplers(2), (6,)).eval()  # type: ignore[arg-type]
    data = pcsr_checkpoint(network, "fsrcnn")
    data["model"]["args"]["encoder_spec"] = {"name": "imdn", "args": args}
    exported = export_bundle(save(data, tmp_path / "net.pth"), tmp_path / "bundle", ExportOptions())
    assert exported.bundle.manifest.model.receptive_radius_px == 6  # head, four of a block, after
