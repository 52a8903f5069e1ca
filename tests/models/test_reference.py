"""The networks in PyTorch: names, shapes, FLOPs, cost and the parts of PCSR.forward."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.errors import CheckpointError
from pcsr.models import make_backbone, register_backbone
from pcsr.models.flops import count_flops
from pcsr.models.pcsr import (
    adaptive_assignment,
    difficulty_of,
    feature_width,
    heavy_count,
    refine_borders,
)
from tests.checkpoints import BACKBONES, pcsr_network


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_backbone_keeps_the_size(name: str, size: tuple[int, int]) -> None:
    backbone = make_backbone(name, BACKBONES[name]).eval()
    width = feature_width(backbone)
    assert backbone(torch.rand(2, 3, *size)).shape == (2, width, *size)


@pytest.mark.parametrize(("name", "key"), [("carn", "scale"), ("srresnet", "upscale")])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_own_tail_upscales(name: str, key: str, scale: int) -> None:
    network = make_backbone(name, {**BACKBONES[name], "no_upsampling": False, key: scale}).eval()
    assert network(torch.rand(1, 3, 5, 7)).shape == (1, 3, 5 * scale, 7 * scale)


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_fsrcnn_deconvolution_upscales_exactly(scale: int) -> None:
    network = make_backbone("fsrcnn", {"d": 8, "s": 4, "m": 1, "upscale": scale})
    assert network(torch.rand(1, 3, 5, 7)).shape == (1, 3, 5 * scale, 7 * scale)


def test_flops_follow_the_papers_convention() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.PReLU()
    ).eval()
    convolution = 2 * (3 * 3 * 2) * 6 * 5 * 7
    per_element = (2 + 1) * 6 * 5 * 7
    assert count_flops(network, torch.zeros(1, 4, 5, 7)) == convolution + per_element


def test_flops_charge_a_deconvolution_at_its_output() -> None:
    deconvolution = nn.ConvTranspose2d(4, 3, 9, stride=4, padding=3, output_padding=1)
    assert count_flops(deconvolution, torch.zeros(1, 4, 5, 7)) == 2 * 81 * 4 * 3 * 20 * 28


def test_flops_count_every_call_of_a_shared_module() -> None:
    layer = nn.Linear(3, 3)
    assert count_flops(nn.Sequential(layer, layer), torch.zeros(10, 3)) == 2 * (2 * 9 * 10)


def test_cost_is_the_share_of_backbone_plus_upsampler() -> None:
    network = pcsr_network("fsrcnn", 3)
    backbone, upsamplers = network.cost_flops(2.5)
    work = np.array(upsamplers) + backbone
    np.testing.assert_allclose(network.cost_table(2.5), work / work.sum(), rtol=1e-6)
    assert upsamplers[1] == 2 * (12 * 12 + 12 * 3) * 40 * 40  # (8 features + 4) -> 12 -> 3


@pytest.mark.parametrize(("count", "heavier"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_difficulty_sums_the_heavier_half(count: int, heavier: int) -> None:
    probabilities = torch.softmax(torch.rand(10, count), dim=-1)
    assert heavy_count(count) == heavier
    expected = sum(probabilities[:, j] for j in range(heavier))
    torch.testing.assert_close(difficulty_of(probabilities), expected)


def test_a_flat_image_is_all_light() -> None:
    assert (adaptive_assignment(torch.full((4, 5), 0.7), 3) == 2).all()


def test_adaptive_clusters_are_ordered_by_difficulty() -> None:
    difficulty = torch.cat([torch.full((50,), x) for x in (0.9, 0.1, 0.5)])
    labels = adaptive_assignment(difficulty, 3)
    assert labels[[0, 60, 120]].tolist() == [0, 2, 1]


def test_level_upsamplers_give_the_lighter_one() -> None:
    network = pcsr_network("fsrcnn", 2)
    nn.init.zeros_(network.classifier.imnet.layers[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(network.classifier.imnet.layers[-1].bias)  # type: ignore[arg-type]
    assert (network(torch.rand(1, 3, 6, 6), 2.0).assignment == 1).all()


def test_chunks_of_pixels_do_not_change_the_result() -> None:
    network = pcsr_network("srresnet", 2)
    image = torch.rand(2, 3, 6, 9)
    whole, parts = network(image, 2.5), network(image, 2.5, pixel_batch_size=17)
    assert torch.equal(whole.assignment, parts.assignment)
    torch.testing.assert_close(whole.image, parts.image)


def test_a_batch_is_its_images() -> None:
    network = pcsr_network("srresnet", 2)
    image = torch.rand(2, 3, 6, 9)
    single = torch.cat([network(one[None], 3.0).image for one in image])
    torch.testing.assert_close(network(image, 3.0).image, single)


def test_refinement_touches_light_neighbours_of_heavy_pixels_only() -> None:
    heavy = torch.zeros(1, 6, 7, dtype=torch.bool)
    heavy[0, 2, 3] = True
    image = torch.rand(1, 3, 6, 7)
    changed = (refine_borders(image, heavy) != image).any(dim=1)[0]
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[1:4, 2:5] = True
    expected[2, 3] = False
    assert torch.equal(changed, expected)


def test_normalisation_reaches_the_network_before_padding() -> None:
    plain = pcsr_network("carn", 2)
    shifted = pcsr_network("carn", 2)
    shifted.mean.fill_(0.25)
    image = torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(shifted(image + 0.25, 2.0).image, plain(image, 2.0).image + 0.25)


class Tripled(nn.Module):
    """A backbone from outside: the input three times."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([x, x, x], dim=1))


def test_a_backbone_registers_by_name() -> None:
    register_backbone("tripled")(Tripled)
    assert feature_width(make_backbone("tripled", {})) == 9


def test_an_unknown_backbone_names_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"unknown backbone 'swin' .*carn, edsr.*fsrcnn"):
        make_backbone("swin", {})


def test_published_checkpoints_load_strictly(reference: Path) -> None:
    for file in sorted((reference / "checkpoints").glob("*-x4.pth")):
        model = torch.load(file, map_location="cpu", weights_only=True)["model"]
        make_backbone(model["name"], model["args"]).load_state_dict(model["sd"], strict=True)


def test_the_adaptive_decision_is_the_same_under_autocast() -> None:
    """On a GPU autocast makes sums of halves, which are infinite for many pixels."""
    difficulty = torch.rand(1, 300, 400, generator=torch.Generator().manual_seed(0)).square()
    expected = adaptive_assignment(difficulty, 2)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype):
            assert torch.equal(adaptive_assignment(difficulty, 2), expected)
