"""Weights without a description become the network that they were saved of, loaded strictly."""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.errors import CheckpointError
from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.checkpoint import read_checkpoint
from pcsr.models.recognition import recognised
from tests.checkpoints import save
from tests.models.recognition.networks import CASES, Case, State

LIIF_FILE = Path(__file__).parents[4] / "shared" / "checkpoints" / "edsr-baseline-liif.pth"


def loaded(path: Path) -> PCSR | PlainNetwork:
    checkpoint = read_checkpoint(path)
    return build_network(checkpoint, completed(NetworkSettings(), checkpoint))


def assert_is(network: PCSR | PlainNetwork, case: Case) -> None:
    state = (network if isinstance(network, PCSR) else network.network).state_dict()
    assert state.keys() == case.own.keys()
    assert all(torch.equal(state[name], weight) for name, weight in case.own.items())
    torch.testing.assert_close(network.mean.flatten(), torch.tensor(case.mean), atol=1e-6, rtol=0)
    torch.testing.assert_close(network.std.flatten(), torch.tensor(case.std))


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_network_that_was_saved(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    assert_is(loaded(save(case.saved, tmp_path / "network.pth")), case)


@pytest.mark.parametrize("name", CASES)
def test_one_weight_more_or_less_is_another_network(name: str) -> None:
    state = CASES[name]().saved
    last = [key for key in state if not key.startswith(("sub_mean", "add_mean"))][-1]
    assert recognised({**state, "more.weight": torch.zeros(1)}) is None
    assert recognised({key: weight for key, weight in state.items() if key != last}) is None
    assert recognised({**state, last: torch.zeros(7, 7)}) is None


def test_what_weights_do_not_tell_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(CASES["liif"]().saved, tmp_path / "network.pth")
    with caplog.at_level(logging.WARNING, "pcsr"):
        (upsampler,) = read_checkpoint(path).description.upsamplers
    assert (upsampler.neighbours, upsampler.base) == (4, "none")
    assert "recognised: liif" in caplog.text
    assert "local ensemble" in caplog.text


def test_a_shift_that_is_none_is_not_taken_for_edsr() -> None:
    state = CASES["edsr x2"]().saved
    assert recognised({**state, "sub_mean.weight": 2 * state["sub_mean.weight"]}) is None
    assert recognised({**state, "add_mean.bias": state["add_mean.bias"] + 1}) is None


def test_the_scale_of_fsrcnn_is_not_guessed(tmp_path: Path) -> None:
    state = CASES["pcsr of fsrcnn"]().saved
    encoder = {k.removeprefix("encoder."): w for k, w in state.items() if "encoder" in k}
    path = save({**encoder, "tail_conv.weight": torch.zeros(8, 3, 9, 9)}, tmp_path / "fsrcnn.pth")
    with pytest.raises(CheckpointError, match="look like FSRCNN, whose weights do not tell its"):
        read_checkpoint(path)


HOSTILE: dict[str, State] = {
    "many stages": {
        **CASES["carn x2"]().saved,
        **{f"upsample.up.body.{i}.weight": torch.zeros(10**4, 0) for i in range(3000)},
    },
    "many upsamplers": {
        **CASES["pcsr of carn"]().saved,
        **{f"sampler_{i}.imnet.layers.0.weight": torch.zeros(0) for i in range(20_000)},
    },
    "wide without numbers": {"conv_first.weight": torch.zeros(2**40, 0, 3, 3)},
    "no shape": {name: torch.zeros(()) for name in CASES["edsr x2"]().saved},
    "long names": {"sampler" * 10**5: torch.zeros(1)},
    "many prefixes": {
        ".".join((*prefixes, "x")): torch.zeros(0)
        for prefixes in itertools.product(("params", "model", "net", "g", "sd", "ema"), repeat=4)
    },
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_weights_made_to_exhaust_are_of_no_network(kind: str) -> None:
    assert recognised(HOSTILE[kind]) is None


@pytest.mark.skipif(not LIIF_FILE.exists(), reason="the authors' checkpoint is not here")
def test_the_authors_liif_is_recognised_as_it_describes_itself(tmp_path: Path) -> None:
    content = torch.load(LIIF_FILE, map_location="cpu", weights_only=True)
    described = read_checkpoint(LIIF_FILE)
    found = read_checkpoint(save(content["model"]["sd"], tmp_path / "bare.pth"))
    assert found.description.upsamplers == described.description.upsamplers
    ours, theirs = loaded(tmp_path / "bare.pth"), loaded(LIIF_FILE)
    image = torch.rand(1, 3, 9, 7)
    assert torch.equal(ours(image, 2.5).image, theirs(image, 2.5).image)


# The maths of BasicSR, written from its sources' description


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def residuals(state: State, x: Tensor) -> Tensor:
    for i in range(len({name.split(".")[1] for name in state if name.startswith("body.")})):
        x = x + conv(state, f"body.{i}.conv2", F.relu(conv(state, f"body.{i}.conv1", x)))
    return x


def basicsr_edsr(state: State, image: Tensor, scale: int) -> Tensor:
    mean = torch.tensor((0.4488, 0.4371, 0.4040)).view(1, 3, 1, 1)
    first = conv(state, "conv_first", (image - mean) * 255)
    x = conv(state, "conv_after_body", residuals(state, first)) + first
    for i in range(1 if scale == 3 else scale // 2):
        x = F.pixel_shuffle(conv(state, f"upsample.{2 * i}", x), 3 if scale == 3 else 2)
    return conv(state, "conv_last", x) / 255 + mean


def basicsr_srresnet(state: State, image: Tensor, scale: int) -> Tensor:
    leaky = nn.LeakyReLU(0.1)
    x = residuals(state, leaky(conv(state, "conv_first", image)))
    for i in range(2 if scale == 4 else 1):
        shuffled = F.pixel_shuffle(conv(state, f"upconv{i + 1}", x), 3 if scale == 3 else 2)
        x = leaky(shuffled)
    base = F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
    return conv(state, "conv_last", leaky(conv(state, "conv_hr", x))) + base


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("formula", [basicsr_edsr, basicsr_srresnet])
def test_it_computes_what_basicsr_does(
    formula: Callable[[State, Tensor, int], Tensor], scale: int, tmp_path: Path
) -> None:
    name = "edsr" if formula is basicsr_edsr else "srresnet"
    state = CASES[f"basicsr {name} x{scale}"]().saved
    image = torch.rand(1, 3, 6, 5)
    found = loaded(save({"params": state}, tmp_path / "network.pth"))(image)
    torch.testing.assert_close(found, formula(state, image, scale), atol=2e-5, rtol=1e-5)
