"""The checkpoints in training/checkpoints: what docs/training.md says of them holds."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from pcsr import Result, Upscaler
from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.metrics import Pixels, bicubic_resize, degrade, luma, psnr
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from pcsr.overlay import draw_overlay
from pcsr.training.config import load_config
from pcsr.training.validation import ALL_HEAVY
from tests.exports import Exports
from tests.runtime.compare import assert_images_agree, assert_routed_alike

TRAINING = Path(__file__).parents[2] / "training"
DEMO, TINY = "fsrcnn-pcsr-x4", "tiny-three-way-x4"
# Over bicubic, all heavy and by default: a little less than documented.
GAIN_DB = {"coffee": (1.13, 1.11), "rocket": (0.26, 0.25)}
MOST_LOST_DB = 0.1  # by the default routing, against all heavy
MOST_BYTES = 2**20


@pytest.fixture(scope="module")
def demo(exports: Exports) -> Upscaler:
    return Upscaler(exports.of_file(_checkpoint(DEMO)))


@pytest.fixture(scope="module")
def tiny(exports: Exports) -> Upscaler:
    return Upscaler(exports.of_file(_checkpoint(TINY)))


def _checkpoint(name: str) -> Path:
    return TRAINING / "checkpoints" / f"{name}.pth"


@cache
def _pair(photo: str) -> tuple[Pixels, Pixels]:
    hr, lr = degrade(getattr(data, photo)(), 4)
    return hr, lr


def _gain_db(result: Result, photo: str) -> float:
    hr, lr = _pair(photo)
    return psnr(result.image, hr, 4) - psnr(bicubic_resize(lr, *hr.shape[:2]), hr, 4)


def test_they_are_small_enough_for_git() -> None:
    files = list((TRAINING / "checkpoints").glob("*.pth"))
    assert {file.stem for file in files} == {DEMO, TINY}
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


@pytest.mark.parametrize("name", [DEMO, TINY])
def test_each_is_what_its_config_trains(name: str) -> None:
    config = load_config(TRAINING / "configs" / f"{name}.yaml")
    checkpoint = read_checkpoint(_checkpoint(name))
    assert checkpoint.description == config.network
    assert checkpoint.training["data_norm"]["mean"] == pytest.approx(config.mean)


@pytest.mark.parametrize("photo", GAIN_DB)
def test_the_demo_checkpoint_beats_bicubic(demo: Upscaler, photo: str) -> None:
    lr = _pair(photo)[1]
    heavy, routed = _gain_db(demo(lr, k=ALL_HEAVY), photo), _gain_db(demo(lr), photo)
    assert heavy >= GAIN_DB[photo][0]
    assert routed >= GAIN_DB[photo][1]
    assert heavy - routed <= MOST_LOST_DB


@pytest.mark.parametrize("photo", GAIN_DB)
def test_the_demo_checkpoint_finds_edges_heavy_and_flats_light(demo: Upscaler, photo: str) -> None:
    hr, lr = _pair(photo)
    heavy = demo(lr).heavy
    assert heavy is not None
    assert 0.02 < heavy.mean() < 0.6
    steepness = np.hypot(*np.gradient(luma(hr)))
    assert steepness[heavy].mean() > 2 * steepness[~heavy].mean()


def test_three_upsamplers_from_training_to_image(tiny: Upscaler) -> None:
    lr = _pair("coffee")[1][20:60, 30:80]
    checkpoint = read_checkpoint(_checkpoint(TINY))
    network = build_network(checkpoint, completed(NetworkSettings(), checkpoint))
    assert isinstance(network, PCSR)
    batch = torch.from_numpy(lr).permute(2, 0, 1)[None] / 255
    image = np.float32(lr) / np.float32(255)
    for options in ({"k": 0.0}, {"k": 0.5}, {"adaptive": True}):
        found = tiny(image, **options)
        expected = network(batch, 4.0, **options)
        assert found.assignment is not None
        same = assert_routed_alike(found.assignment, expected.assignment[0].numpy())
        assert_images_agree(found.image, expected.image[0].permute(1, 2, 0).numpy(), same)


def test_three_upsamplers_share_a_photo(tiny: Upscaler) -> None:
    lr = _pair("coffee")[1]
    result = tiny(lr)
    assert result.assignment is not None
    shares = np.bincount(result.assignment.ravel(), minlength=3) / result.assignment.size
    assert shares.min() > 0.01, shares
    colours = np.unique(
        draw_overlay(result.image, result.assignment, 3, 1.0).reshape(-1, 3), axis=0
    )
    assert len(colours) == 3
    assert _gain_db(tiny(lr, k=ALL_HEAVY), "coffee") > 0.2
