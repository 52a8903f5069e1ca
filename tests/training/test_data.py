"""Batches: what they hold, what they depend on, and what the augmentations do."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pcsr.metrics import bicubic_resize
from pcsr.training.data import AUGMENTS, HELD_OUT, TRAINING, Batches, training_photos
from tests.training import tiny


def batches(folder: Path, *overrides: str, seed: int = 0) -> Batches:
    config = tiny.config(folder, 2, *overrides)
    return Batches(training_photos(config.data.photos), config.data, 10, (seed,))


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
