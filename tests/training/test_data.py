"""Batches: what they hold, what they depend on, and what the augmentations do."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pcsr.metrics import bicubic_resize
from pcsr.training.config import load_config
from pcsr.training.data import AUGMENTS, Batches, open_source
from pcsr.training.resuming import digest
from pcsr.training.sources.photos import HELD_OUT, TRAINING
from tests.training import tiny

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def batches(folder: Path, *overrides: str, seed: int = 0) -> Batches:
    config = tiny.config(folder, 2, *overrides)
    return Batches(open_source(config.data), config.data, 10, (seed,))


def patch() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)


def test_low_resolution_is_the_bicubic_of_the_patch(tmp_path: Path) -> None:
    whole = "train_dataset.wrapper.args.sample_q=0"
    lr, drawn, colours = batches(tmp_path, whole)[3]
    assert lr.shape == (2, 3, 8, 8)
    assert colours.shape == (2, 256, 3)
    hr = torch.empty_like(colours)
    hr[:, drawn] = colours
    pixels = (hr[0].reshape(16, 16, 3) * 255).round().numpy().astype(np.uint8)
    expected = bicubic_resize(pixels, 8, 8)
    np.testing.assert_array_equal((lr[0].permute(1, 2, 0) * 255).round().numpy(), expected)


MARGIN = "train_dataset.wrapper.args.sample_margin=2"  # 4 output pixels of 16; 64 of 256 inside


@pytest.mark.parametrize(("drawn", "inside"), [(40, 32), (80, 64), (100, 64), (0, 64)])
def test_most_pixels_lie_inside_the_margin(drawn: int, inside: int, tmp_path: Path) -> None:
    asked = f"train_dataset.wrapper.args.sample_q={drawn}"
    positions = batches(tmp_path, MARGIN, asked)[0][1].numpy()
    assert len(set(positions)) == len(positions) == (drawn or 256)
    row, column = positions // 16, positions % 16
    assert ((row >= 4) & (row < 12) & (column >= 4) & (column < 12)).sum() == inside


def test_without_a_margin_pixels_lie_anywhere(tmp_path: Path) -> None:
    positions = batches(tmp_path)[0][1].numpy()
    assert len(set(positions)) == 64
    assert {positions.min() // 16, positions.max() // 16} == {0, 15}


def test_a_batch_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    first, again = batches(tmp_path), batches(tmp_path)
    later = first[4]
    for part, same in zip(later, again[4], strict=True):
        assert torch.equal(part, same)
    assert not torch.equal(later[0], first[5][0])
    assert not torch.equal(later[0], batches(tmp_path, seed=1)[4][0])


@pytest.mark.parametrize("name", ["hflip", "vflip", "dflip", "bgr"])
def test_flips_are_their_own_inverse(name: str) -> None:
    once = AUGMENTS[name](patch())
    assert not np.array_equal(once, patch())
    np.testing.assert_array_equal(AUGMENTS[name](once), patch())


def test_the_held_out_photos_are_not_trained_on() -> None:
    assert not set(HELD_OUT) & set(TRAINING)
    assert HELD_OUT == ("coffee", "rocket")


DRAWN = {
    (): "1012e83faed871f07197d2001bcf279663423b7593651544185233b0fb5adb15",
    ("train_dataset.wrapper.args.inp_size=[6,12]",): (
        "df9b151adc2d96b0e0e95d9469d083d2f811a7def4b94deeefa56a10e10edd32"
    ),
}


def drawn(batches: Batches, total: int) -> str:
    seen = hashlib.sha256()
    for index in (0, 7, total - 1):
        for part in batches[index]:
            seen.update(part.numpy().tobytes())
    return seen.hexdigest()


@pytest.mark.parametrize("overrides", DRAWN)
def test_the_same_batches_as_ever(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """Runs that were begun with an older version go on with the batches that come next."""
    data = tiny.config(tmp_path, 2, *overrides).data
    assert drawn(Batches(open_source(data), data, 10, (0, 0, 0)), 10) == DRAWN[overrides]


def test_the_shipped_checkpoint_draws_the_same_batches_as_ever() -> None:
    config = load_config(CONFIGS / "fsrcnn-pcsr-x4.yaml")
    expected = "264bcd7af88f3c3dea342ef510d57045f6081440ec31b828d6a8fc74be1d9c75"
    made = Batches(open_source(config.data), config.data, 100, (0, 0, 0))
    assert drawn(made, 100) == expected
    begun = "7b2ca2a69f4f291ade493b45cf935c2709135e8009e0c0918a76d13fb4fc296f"
    assert digest(config) == begun  # that its stages carry
