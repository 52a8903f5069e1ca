"""The parts of distillation: teachers, patches, scenes, the folded student, losses, the table."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pcsr import CheckpointError, UsageError
from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.models import Extended, PlainNetwork, make_backbone
from pcsr.models.checkpoint import read_checkpoint
from pcsr.models.liif import pixel_centres, sample
from pcsr.runtime.geometry.grid import Grid
from pcsr.training.distillation.comparison import Row, table
from pcsr.training.distillation.patches import Drawing, PatchBatches, draw_patches
from pcsr.training.distillation.scenes import draw_scene
from pcsr.training.distillation.student import StudentStage
from pcsr.training.distillation.teacher import Teacher
from pcsr.training.distillation.trainer import share_loss
from tests.checkpoints import Data, liif_checkpoint, plain_checkpoint, save, tiny
from tests.training.distillation import students

LR = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("checkpoint", "scale"),
    [
        (liif_checkpoint(), 3.3),
        (liif_checkpoint(local_ensemble=False), 2),
        (tiny("carn"), 2.5),
        (plain_checkpoint("srresnet", 4), 4),
    ],
)
def test_a_teacher_answers_as_its_network_does(
    checkpoint: Data, scale: float, tmp_path: Path
) -> None:
    read = read_checkpoint(save(checkpoint, tmp_path / "teacher.pth"))
    network = build_network(read, completed(NetworkSettings(), read))
    if isinstance(network, PlainNetwork):
        image = network(LR[None])[0]
    else:
        image = network(LR[None], scale, k=-25, refine=False).image[0]
    drawn = torch.tensor([0, 5, 77, 200, 101])
    found = Teacher(read).colours(LR, Grid.make((9, 9), scale), drawn)
    torch.testing.assert_close(found, image.flatten(1)[:, drawn].T, rtol=0, atol=2e-5)


def test_a_plain_teacher_knows_its_own_scale_alone(tmp_path: Path) -> None:
    teacher = Teacher(read_checkpoint(save(plain_checkpoint("carn", 3), tmp_path / "t.pth")))
    assert [teacher.knows(scale) for scale in (2, 3, 3.5)] == [False, True, False]


@pytest.mark.parametrize("freeze", ["true", "false"])
def test_a_students_training_form_computes_what_the_network_does(
    freeze: str, tmp_path: Path
) -> None:
    config = students.config(tmp_path, f"teacher.freeze={freeze}")
    assert config.distillation is not None
    network = StudentStage(config, config.distillation, 1, None).eval()
    grid = Grid.make((9, 9), 2.5)
    drawn = np.array([3, 44, 250, 300])
    index, offset = grid.locate(drawn)
    position = np.concatenate([offset, np.broadcast_to(grid.cell, offset.shape)], axis=1)
    nothing = torch.zeros(1, 4, 3)
    with torch.no_grad():
        residuals, probabilities, *_ = network(
            network.inputs(LR[None]),
            torch.from_numpy(index)[None],
            torch.from_numpy(position)[None],
            nothing,
            nothing,
        )
    centres = pixel_centres(grid.hr_size).view(1, -1, 2)[:, drawn]
    pcsr = network.trained
    with torch.no_grad():
        features = pcsr.encoder((LR[None] - pcsr.mean) / pcsr.std)
        cell = torch.tensor([2 / side for side in grid.hr_size])
        expected = [u(features, centres, cell) for u in pcsr.upsamplers]
        likely = pcsr.probabilities(features, [centres], cell)
    torch.testing.assert_close(residuals, torch.stack(expected, dim=2), rtol=0, atol=1e-5)
    torch.testing.assert_close(probabilities, likely, rtol=0, atol=1e-5)


def photo(side: int = 60) -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (side // 6, side // 6, 3), dtype=np.uint8)
    return blocks.repeat(6, axis=0).repeat(6, axis=1)


def test_scenes_depend_on_the_seed_alone_and_are_of_many_colours() -> None:
    grey = photo().mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    scenes = [draw_scene([grey], np.random.default_rng(seed), 24) for seed in range(40)]
    again = draw_scene([grey], np.random.default_rng(7), 24)
    assert all(scene.shape == (24, 24, 3) and scene.dtype == np.uint8 for scene in scenes)
    np.testing.assert_array_equal(again, scenes[7])
    coloured = [scene for scene in scenes if np.ptp(scene.astype(int), axis=2).max() > 20]
    assert 10 < len(coloured) < 40


def test_patches_hold_what_the_teacher_and_the_original_add(tmp_path: Path) -> None:
    read = read_checkpoint(save(liif_checkpoint(), tmp_path / "t.pth"))
    teacher = Teacher(read)
    done: list[int] = []
    drawing = Drawing(count=12, side=8, pixels=40, scales=(1.5, 2))
    patches = draw_patches([photo()], drawing, teacher, None, (3,), done.append)
    assert done == [*range(1, 13)]
    assert patches.inputs.shape == (12, 3, 8, 8)
    both = (patches.answer == patches.original).flatten(1).all(dim=1)
    assert 0 < both.sum() < 12  # some have no original
    for number in range(12):
        lr, position = patches.inputs[number].float(), patches.position[number]
        scale = 2 / float(position[0, 2])
        grid = Grid.make((8, 8), scale)
        index, offset = grid.locate(np.arange(grid.pixels))
        spots = {
            (int(i), *map(float, o)): n for n, (i, o) in enumerate(zip(index, offset, strict=True))
        }
        drawn = [
            spots[int(i), *map(float, p[:2])]
            for i, p in zip(patches.index[number], position, strict=True)
        ]
        at = torch.tensor(drawn)
        centres = pixel_centres(grid.hr_size).view(1, -1, 2)[:, at]
        expected = teacher.colours(lr, grid, at) - sample(lr[None], centres, "bilinear")[0]
        torch.testing.assert_close(patches.answer[number].float(), expected, rtol=0, atol=3e-3)


def test_batches_depend_on_their_numbers_alone(tmp_path: Path) -> None:
    teacher = Teacher(read_checkpoint(save(liif_checkpoint(), tmp_path / "t.pth")))
    drawing = Drawing(count=5, side=8, pixels=10, scales=(2, 2))
    patches = draw_patches([photo()], drawing, teacher, None, (3,), lambda _: None)
    one, other = (PatchBatches(patches, 3, (1, 0, 0)) for _ in range(2))
    for first, second in zip(one[4], other[4], strict=True):
        assert torch.equal(first, second)
    assert any(not torch.equal(one[4][0], one[number][0]) for number in range(3))


def test_photos_that_are_too_small_are_refused(tmp_path: Path) -> None:
    teacher = Teacher(read_checkpoint(save(liif_checkpoint(), tmp_path / "t.pth")))
    drawing = Drawing(count=1, side=80, pixels=10, scales=(2, 2))
    with pytest.raises(UsageError, match="no training photo is at least 80 px wide and high"):
        draw_patches([photo()], drawing, teacher, None, (0,), lambda _: None)


def test_patches_beyond_memory_are_refused(tmp_path: Path) -> None:
    teacher = Teacher(read_checkpoint(save(liif_checkpoint(), tmp_path / "t.pth")))
    drawing = Drawing(count=10**6, side=40, pixels=5000, scales=(2, 2))
    with pytest.raises(UsageError, match=r"GiB; lower teacher\.patches"):
        draw_patches([photo(90)], drawing, teacher, None, (0,), lambda _: None)


def test_shares_that_are_aimed_at_cost_nothing() -> None:
    aimed = torch.tensor([0.2, 0.4, 0.4]).expand(7, 3)
    assert share_loss(aimed, 0.2) == pytest.approx(0, abs=1e-6)
    assert share_loss(torch.tensor([[0.4, 0.6]]), 0.2) == pytest.approx((1 + 0.25) / 2)


def test_the_table_compares_each_with_the_teacher_of_its_scale() -> None:
    rows = [
        Row(4, "teacher", 28.5, 2300.4, None),
        Row(4, "PCSR, default", 28.46, 270.2, 0.241),
        Row(2, "teacher", 33.0, 700.0, None),
        Row(2, "PCSR, default", 32.9, 90.0, 0.2),
    ]
    lines = [[cell.strip() for cell in line.split("|")] for line in table(rows).splitlines()]
    assert lines[3] == ["", "x4", "PCSR, default", "28.46", "-0.040", "270", "24%", ""]
    assert lines[5][4] == "-0.100"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher.heavy_share=0", "teacher.heavy_share must lie between 0.01 and 0.99"),
        ("teacher.freeze=3", "teacher.freeze must be true or false, found 3"),
        ("teacher.patches=0", "teacher.patches must lie between 1 and 1e"),
        ("teacher.loss_teacher_w=0", "are both 0"),
    ],
)
def test_settings_out_of_range_are_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        students.config(tmp_path, override)


def test_a_config_that_takes_a_teachers_backbone_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name its checkpoint with --teacher"):
        students.config(tmp_path, "teacher.path=''")


def test_a_teacher_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        students.config(tmp_path, "teacher.path=/nowhere.pth")


def test_other_upsamplers_than_published_are_refused(tmp_path: Path) -> None:
    config = students.config(tmp_path, "model.args.light_sampler_spec.args.local_ensemble=true")
    with pytest.raises(UsageError, match="have one neighbour"):
        students.trainer(config, tmp_path / "run")


def test_a_neck_begins_as_a_convolution_of_the_features() -> None:
    inner = {"name": "fsrcnn", "args": {"d": 6, "s": 4, "m": 1, "no_upsampling": True}}
    network = make_backbone("extended", {"encoder": inner, "neck": {"blocks": 2, "features": 5}})
    assert isinstance(network, Extended)
    out = network(LR[None])
    assert out.shape == (1, 5, 9, 9)
    part = network.get_submodule
    expected = part("neck.exit")(part("encoder")(LR[None]))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("neck", [{"blocks": 1}, {"blocks": 1, "features": 4, "size": 3}, None])
def test_a_neck_of_another_form_is_refused(neck: object) -> None:
    inner = {"name": "fsrcnn", "args": {"d": 6, "s": 4, "m": 1, "no_upsampling": True}}
    with pytest.raises(CheckpointError, match="backbone 'extended' cannot be built"):
        make_backbone("extended", {"encoder": inner, "neck": neck})
