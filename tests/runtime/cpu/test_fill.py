"""The pass that classifies, routes and composes at once, against those that do each alone, for
every instruction set.
"""

from dataclasses import replace

import numpy as np
import pytest

from pcsr import ImageError
from pcsr.runtime.cpu.passes import Unrefined, counted, has_bf16, instructions, sigmoid
from pcsr.runtime.routing.rule import Rule
from tests.runtime.networks import Scene

TWO = {"classifier": (6,), "upsampler_0": (13, 7), "upsampler_1": (5,)}
COST = np.array([4, 1], np.float32)
RULES = {
    "k": Rule(COST, 0.0),
    "cut": Rule(COST, 0.0, cut=np.float32(0.25)),
    "all heavy": Rule(COST, 0.0, cut=np.float32(-np.inf)),
    "bound": Rule(COST, 0.0, bounds=(0.4375001,)),
    "flat": Rule(COST, 0.0, bounds=(np.inf,)),
}
SIZES = [((1, 1), 1.0), ((7, 19), 4.0), ((5, 9), 2.5), ((2, 1100), 2.5)]

pytestmark = pytest.mark.usefixtures("instructions")


def _room(scene: Scene) -> Unrefined:
    size = scene.grid.hr_size
    planes = np.full((3, size[0] + 2, size[1]), 7, np.float32)[:, 1:-1]  # of a larger array
    return Unrefined(planes, np.full(size, 9, np.uint8), np.full(size, 7, np.float32))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(("size", "scale"), SIZES)
@pytest.mark.parametrize("is_known", [False, True])
def test_one_pass_gives_what_each_alone_gives(
    size: tuple[int, int], scale: float, rule: Rule, is_known: bool
) -> None:
    scene, seconds = Scene.make(size, scale, TWO), np.zeros(5)
    passes, band, made = scene.passes, scene.band(), _room(scene)
    logits = passes.logits(band, scene.rows)
    passes.fill(band, scene.rows, rule.of_two, made, seconds, logits if is_known else None)
    routing = rule(logits.reshape(1, -1).T, sigmoid)
    assert np.array_equal(made.labels.reshape(-1), routing.assignment)
    assert np.array_equal(made.difficulty.reshape(-1), routing.difficulty)
    assert rule.of_two.threshold == routing.threshold
    alone = np.empty((3, *scene.grid.hr_size), np.float32)
    passes.compose(band, scene.rows, made.labels, alone, np.zeros(2))
    assert np.array_equal(made.planes, alone)
    assert (seconds[[1, 3 + int(made.labels[0, 0])]] > 0).all()
    assert seconds[2] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("spoilt", "message"), [("features", "classifier"), ("image", "network")])
def test_what_is_not_finite_is_refused(spoilt: str, message: str, value: float) -> None:
    scene = Scene.make((5, 9), 3, TWO)
    getattr(scene, spoilt)[0, 4, 8] = value  # of the last pixel
    rule = RULES["k"].of_two
    with pytest.raises(ImageError, match=message):
        scene.passes.fill(scene.band(), scene.rows, rule, _room(scene), np.zeros(5))


def test_rows_of_a_part_alone_are_written() -> None:
    scene, rows = Scene.make((7, 19), 4, TWO), slice(8, 17)
    whole, made = _room(scene), _room(scene)
    scene.passes.fill(scene.band(), scene.rows, RULES["k"].of_two, whole, np.zeros(5))
    part = Unrefined(made.planes[:, rows], made.labels[rows], made.difficulty[rows])
    scene.passes.fill(scene.band(), rows, RULES["k"].of_two, part, np.zeros(5))
    assert np.array_equal(made.planes[:, rows], whole.planes[:, rows])
    assert np.array_equal(made.labels[rows], whole.labels[rows])
    assert np.array_equal(made.difficulty[rows], whole.difficulty[rows])
    assert (made.labels[rows] < 2).all()
    assert (made.labels[:8] == 9).all()
    assert (made.labels[17:] == 9).all()
    assert (made.planes[:, 17:] == 7).all()


@pytest.mark.parametrize("pixels", [1, 127, 128, 129, 65536])
def test_labels_are_counted(pixels: int) -> None:
    labels = np.random.default_rng(pixels).integers(0, 4, pixels, dtype=np.uint8)
    labels[pixels // 2 :] = 1  # more than a byte counts
    assert counted(labels, 3) == np.bincount(labels, minlength=4)[:3].tolist()


def test_a_network_of_bf16_fills_as_it_composes() -> None:
    if not has_bf16() or instructions() != "avx512":
        pytest.skip("no bf16 beside these instructions")
    scene = replace(Scene.make((7, 19), 4, TWO), bf16=True)
    passes, made = scene.passes, _room(scene)
    passes.fill(scene.band(), scene.rows, RULES["k"].of_two, made, np.zeros(5))
    assert np.array_equal(sigmoid(passes.logits(scene.band(), scene.rows))[0], made.difficulty)
    alone = np.empty((3, *scene.grid.hr_size), np.float32)
    passes.compose(scene.band(), scene.rows, made.labels, alone, np.zeros(2))
    assert np.array_equal(made.planes, alone)
