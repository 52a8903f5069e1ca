"""Losses on small examples, and which weights a stage may change."""

from pathlib import Path

import pytest
import torch

from pcsr.models import PCSR
from pcsr.training.config import Config
from pcsr.training.losses import average_loss, reconstruction_loss
from pcsr.training.stages import PcsrStage, stage_network
from pcsr.training.trainer import learning_rate
from tests.training import tiny


def batch(count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    drawn = torch.randperm(256, generator=random)[:50]
    lr, colours = torch.rand(count, 3, 8, 8, generator=random), torch.rand(count, 50, 3)
    return lr, drawn, colours


def pcsr_stage(config: Config, stage: int, before: PCSR | None = None) -> PcsrStage:
    network = stage_network(config, stage, before)
    assert isinstance(network, PcsrStage)
    return network


def test_reconstruction_is_the_mean_absolute_difference() -> None:
    found = reconstruction_loss(
        torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.5, 2.0, 1.0]]])
    )
    assert found == pytest.approx((0.5 + 0 + 2) / 3)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ((0.3, 0.3, 0.3), 0.9 / 3**0.5),
        ((-0.2, 0.2, 0), 4 * 0.4 / 2**0.5),
        ((0.1, 0.1, -0.2), 4 * 0.6 / 6**0.5),
        ((0.3, 0, 0), 0.3 / 3**0.5 + 4 * (0.3 / 2**0.5 + 0.3 / 6**0.5)),
    ],
)
def test_colours_can_weigh_more(error: tuple[float, ...], expected: float) -> None:
    true = torch.tensor([[[0.5, 0.1, -0.2]]])
    found = reconstruction_loss(true + torch.tensor(error), true, chroma_weight=4)
    assert found == pytest.approx(expected / 3)


def test_average_loss_of_two_upsamplers() -> None:
    # Two pixels: sums 1.7 and 0.3, each should be 1, so both are off by 0.7 of 1.
    assert average_loss(torch.tensor([[[0.9, 0.1], [0.8, 0.2]]])) == pytest.approx(0.7)


def test_average_loss_of_three_upsamplers() -> None:
    # Three pixels, all on the first: sums 3, 0, 0 instead of 1 each: off by 2, 1, 1 of 1.
    probabilities = torch.tensor([[[1.0, 0, 0]] * 3])
    assert average_loss(probabilities) == pytest.approx(4 / 3)


def test_equal_shares_cost_nothing() -> None:
    assert average_loss(torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])) == pytest.approx(0, abs=1e-6)


def test_stage_zero_trains_the_backbone_and_its_upsampler(tmp_path: Path) -> None:
    network = pcsr_stage(tiny.config(tmp_path), 0)
    predicted, true, _ = network(*batch())
    reconstruction_loss(predicted, true).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("stage", [1, 2])
def test_a_later_stage_trains_its_upsampler_and_the_classifier_only(
    stage: int, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path, 3)
    before = None
    for earlier in range(stage):
        before = pcsr_stage(config, earlier, before).trained
    network = pcsr_stage(config, stage, before).train()
    predicted, true, probabilities = network(*batch())
    loss = reconstruction_loss(predicted, true) + average_loss(probabilities)
    loss.backward()  # type: ignore[no-untyped-call]
    moved = {name for name, p in network.trained.named_parameters() if p.grad is not None}
    last = network.trained.names[stage]
    assert {name.split(".")[0] for name in moved} == {last, "classifier"}
    frozen = {name for name, p in network.trained.named_parameters() if not p.requires_grad}
    assert moved | frozen == {name for name, _ in network.trained.named_parameters()}


def test_what_was_trained_before_is_taken_over(tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    first = pcsr_stage(config, 0).trained
    second = pcsr_stage(config, 1, first).trained
    for mine, theirs in (
        (second.encoder, first.encoder),
        (second.upsamplers[0], first.upsamplers[0]),
    ):
        for name, weight in mine.state_dict().items():
            assert torch.equal(weight, theirs.state_dict()[name])


def test_training_form_mixes_what_the_published_form_chooses(tmp_path: Path) -> None:
    """With a classifier that is certain, the mixed residual is the chosen upsampler's."""
    config = tiny.config(tmp_path)
    network = pcsr_stage(config, 1, pcsr_stage(config, 0).trained).eval()
    last = network.trained.classifier.imnet.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 60.0]))  # lightest first: certain of heavy
    lr, drawn, _ = batch()
    whole = network.trained(lr, 2.0, refine=False).image.flatten(2).transpose(1, 2)
    colours = whole[:, drawn]
    predicted, true, probabilities = network(lr, drawn, colours)
    torch.testing.assert_close(predicted, true, atol=1e-5, rtol=1e-4)
    assert probabilities[..., 0].min().item() > 0.999


@pytest.mark.parametrize("stage", [0, 1])
def test_mixed_precision_trains_the_same(stage: int, tmp_path: Path) -> None:
    """bfloat16 as on CUDA, here on the CPU: the loss within its 8 bits, gradients everywhere."""
    config = tiny.config(tmp_path)
    before = None if stage == 0 else pcsr_stage(config, 0).trained
    network = pcsr_stage(config, stage, before).train()
    losses = []
    same = batch()
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            predicted, true, _ = network(*same)
        losses.append(reconstruction_loss(predicted.float(), true.float()))
    losses[1].backward()  # type: ignore[no-untyped-call]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=2e-2)
    trained = [p for p in network.trained.upsamplers[-1].parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)


def test_learning_rate_anneals_as_a_cosine(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "optimizer.args.lr=1", "lr_scheduler.args.eta_min=0.2")
    rates = [learning_rate(config, i, 4) for i in range(5)]
    assert rates == pytest.approx(
        [1, 0.2 + 0.8 * 0.853553, 0.6, 0.2 + 0.8 * 0.146447, 0.2], abs=1e-6
    )
