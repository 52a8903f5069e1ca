"""The nine published training files run unchanged but for their paths, phase after phase."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from pcsr import CheckpointError, UsageError
from pcsr.images import Picture, write
from pcsr.metrics import bicubic_resize, psnr
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from pcsr.runtime.layout import RGB8
from pcsr.training.cli import main
from pcsr.training.config import load_config
from pcsr.training.sources.pairs import validation_pairs
from pcsr.training.stages import stage_network
from pcsr.training.trainer import Progress, Trainer
from pcsr.training.validation import Validator
from tests.checkpoints import save
from tests.training import published, tiny

SHORT = ["iter_max=4", "iter_val=2", "iter_save=2"]
SMALL = ["train_dataset.batch_size=2", "train_dataset.num_workers=0"]


def write_file(folder: Path, name: str, **changes: object) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**published.config(name), **changes}))
    return path


def photos(folder: Path, scale: int | None = None) -> list[str]:
    """Folders of HR, and with a scale of LR; and the overrides that name them."""
    roots = [folder / "hr"] + ([folder / "lr"] if scale else [])
    for root in roots:
        root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        hr = random.integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        write(Picture(hr), roots[0] / f"{name}.png")
        if scale:
            lr = bicubic_resize(hr, 128 // scale, 128 // scale)
            write(Picture(lr), roots[1] / f"{name}x{scale}.png")
    keys = ("root_path_hr", "root_path_lr") if scale else ("root_path",)
    return [
        f"{part}_dataset.dataset.args.{key}={root}"
        for part in ("train", "valid")
        for key, root in zip(keys, roots, strict=True)
    ]


def train(config: Path, output: Path, *overrides: str) -> Result:
    sets = [part for override in overrides for part in ("--set", override)]
    return CliRunner().invoke(main, [str(config), "-o", str(output), *sets])


@pytest.mark.parametrize("name", published.NAMES)
def test_every_file_is_read_and_its_network_built(name: str, tmp_path: Path) -> None:
    config = load_config(write_file(tmp_path, name))
    keys = published.config(name)
    assert config.iterations == (keys["iter_max"],)
    assert config.phase == keys.get("phase")
    assert (config.data.scale, config.data.batch, config.data.workers) == (4, 16, 4)
    assert config.data.patch_px == (() if name.endswith("x4") else (32,))
    assert config.psnr_channel == "rgb"
    assert config.report_every == keys["iter_print"]
    assert config.mean == tuple(keys["data_norm"]["mean"])
    network = stage_network(config, config.phase or 0, None)
    assert network.model()["name"] == keys["model"]["name"]
    assert config.notes == (
        "not used by training: test_dataset, patch_size, step (pcsr-evaluate --patches evaluates)",
    )


def test_only_what_a_file_has_and_does_not_agree_is_said(tmp_path: Path) -> None:
    assert tiny.config(tmp_path).notes == ()
    path = write_file(tmp_path, "carn-pcsr-phase0", test_dataset=None, patch_size=None)
    overrides = ["iter_max=4", "valid_dataset.scales=[2,4]", "lr_scheduler.name=StepLR"]
    assert load_config(path, overrides).notes == (
        "not used by training: step (pcsr-evaluate --patches evaluates), name and T_period and "
        "restarts of lr_scheduler (one cosine over iter_max, 4 iterations, is what is done), "
        "valid_dataset.scales (validated at x4)",
    )


@pytest.mark.parametrize("backbone", ["fsrcnn", "carn"])
def test_phase_after_phase(backbone: str, tmp_path: Path) -> None:
    roots = photos(tmp_path / "photos")
    runs = [tmp_path / f"{backbone}-pcsr-phase{phase}" for phase in (0, 1)]
    files = [write_file(tmp_path, run.name) for run in runs]
    common = [*roots, *SHORT, *SMALL]
    ended = train(files[1], runs[1], *common)
    assert ended.exit_code == 2
    assert ended.stderr == (
        f"error: phase 1 starts from the network of phase 0, and {runs[0]}/network.pth is not "
        f"there; train phase 0 into {runs[0]}, or name its checkpoint by --set init_path=CKPT\n"
    )
    assert not runs[1].exists()
    for file, run in zip(files, runs, strict=True):
        ended = train(file, run, *common)
        assert ended.exit_code == 0, ended.output
        assert ended.stderr.count("note: not used by training:") == 1
    assert f"note: phase 1 starts from {runs[0]}/network.pth\n" in ended.stderr
    assert not (runs[1] / "stage-0.pth").exists()
    first, second = (read_checkpoint(run / "network.pth") for run in runs)
    assert [len(c.description.upsamplers) for c in (first, second)] == [1, 2]
    for name, weight in first.weights.items():
        assert torch.equal(second.weights[name], weight)
    again = train(files[1], runs[1], *common)  # a run that has begun needs its start no more
    assert again.exit_code == 0
    finished = (runs[1] / "network.pth").read_bytes()
    wrong = train(files[0], runs[1], *common)
    assert (wrong.exit_code, (runs[1] / "network.pth").read_bytes()) == (1, finished)
    assert "holds stage-1.pth of another phase than 0" in wrong.stderr


def test_a_folder_that_names_no_phase_needs_a_checkpoint(tmp_path: Path) -> None:
    file = write_file(tmp_path, "carn-pcsr-phase1")
    ended = train(file, tmp_path / "run", *photos(tmp_path / "photos"), *SHORT, *SMALL)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(
        "error: phase 1 starts from the network of phase 0; name its checkpoint by --set init_path"
    )


@pytest.mark.parametrize("backbone", ["fsrcnn", "carn"])
def test_a_plain_network_learns_from_whole_pairs(backbone: str, tmp_path: Path) -> None:
    roots = photos(tmp_path / "photos", 4)
    ended = train(write_file(tmp_path, f"{backbone}-x4"), tmp_path / "run", *roots, *SHORT, *SMALL)
    assert ended.exit_code == 0, ended.output
    assert "psnr_db" in ended.stderr
    assert read_checkpoint(tmp_path / "run" / "network.pth").description.backbone == backbone


def phases(tmp_path: Path, *overrides: str) -> dict[str, torch.Tensor]:
    """The weights of a run in two phases of their own."""
    first = tiny.config(tmp_path, 2, "phase=0", *overrides)
    Trainer(first, tmp_path / "run0").run(ignore)
    second = tiny.config(tmp_path, 2, "phase=1", *overrides)
    path = Trainer(second, tmp_path / "run1").run(ignore)
    return dict(torch.load(path, weights_only=True)["model"]["sd"])


def ignore(progress: Progress) -> None:
    """No report."""


def test_two_phases_are_one_run(tmp_path: Path) -> None:
    path = Trainer(tiny.config(tmp_path), tmp_path / "whole").run(ignore)
    whole = torch.load(path, weights_only=True)["model"]["sd"]
    parts = phases(tmp_path)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_a_killed_phase_goes_on_without_its_start(tmp_path: Path) -> None:
    expected = phases(tmp_path)
    config = tiny.config(tmp_path, 2, "phase=1", f"init_path={tmp_path / 'run0' / 'network.pth'}")

    def kill(progress: Progress) -> None:
        if progress.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "killed").run(kill)
    (tmp_path / "run0" / "network.pth").unlink()
    path = Trainer(config, tmp_path / "killed").run(ignore)
    weights = torch.load(path, weights_only=True)["model"]["sd"]
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_all_stages_do_not_go_on_from_a_phase(tmp_path: Path) -> None:
    phases(tmp_path)
    with pytest.raises(Exception, match="another config"):
        Trainer(tiny.config(tmp_path), tmp_path / "run1").run(ignore)


def as_published(tmp_path: Path, path: Path) -> Path:
    """What the published code saves as iter_last.pth."""
    model = torch.load(path, weights_only=True)["model"]
    state = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}
    content = {
        "model": model,
        "optimizer": {"name": "adam", "args": {"lr": 1e-3}, "sd": state},
        "lr_scheduler": {"name": "CosineAnnealingLR_Restart", "args": {}, "sd": {"T_max": 6}},
        "iter": 6,
    }
    return save(content, tmp_path / "iter_last.pth")


def test_a_checkpoint_of_the_published_code_starts_phase_1(tmp_path: Path) -> None:
    expected = phases(tmp_path)
    last = as_published(tmp_path, tmp_path / "run0" / "network.pth")
    config = tiny.config(tmp_path, 2, "phase=1", f"init_path={last}")
    path = Trainer(config, tmp_path / "theirs").run(ignore)
    weights = torch.load(path, weights_only=True)["model"]["sd"]
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_later_phase_takes_over_all_upsamplers_before_it(tmp_path: Path) -> None:
    def run(phase: int, *more: str) -> Path:
        config = tiny.config(tmp_path, 3, f"phase={phase}", *more)
        return Trainer(config, tmp_path / f"run{phase}").run(ignore)

    weights: list[dict[str, Any]] = []
    for phase in range(3):
        weights.append(torch.load(run(phase), weights_only=True)["model"]["sd"])
    names = {"heavy_sampler.": "sampler_0.", "light_sampler.": "sampler_1."}
    for name, weight in weights[1].items():
        own = next((name.replace(a, b) for a, b in names.items() if name.startswith(a)), name)
        if not own.startswith("classifier."):
            assert torch.equal(weights[2][own], weight)
    start = tmp_path / "run0" / "network.pth"
    config = tiny.config(tmp_path, 3, "phase=2", f"init_path={start}")
    with pytest.raises(CheckpointError, match="has 1 upsamplers; phase 2 starts from the 2 that"):
        Trainer(config, tmp_path / "x")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phase=2", "phase is 2, but the network 'pcsr-phase1' has 2 of them, counted from 0"),
        ("phase=-1", "phase must be a number from 0, or left out, found -1"),
        ("phase=true", "phase must be a number from 0"),
        ("psnr_type=lab", "psnr_type must be rgb or y, found 'lab'"),
        ("iter_print=0", "iter_print must be positive"),
        ("scale=3", r"scale is 3, and train_dataset.wrapper.args.scale is something else"),
        ("train_dataset.dataset.name=lmdb", "unknown dataset 'lmdb'"),
        ("valid_dataset.dataset.name=published-sub-images", "unknown dataset"),
        ("train_dataset.wrapper.name=sr-implicit-paired", "expected sr-implicit-downsampled"),
        ("train_dataset.dataset.name=paired-image-folders", "root_path_hr is not set"),
    ],
)
def test_nonsense_is_named(override: str, message: str, tmp_path: Path) -> None:
    tiny.config(tmp_path)
    with pytest.raises(UsageError, match=message):
        Trainer(load_config(tmp_path / "config.yaml", [override]), tmp_path / "run")


def test_the_scale_of_the_file_is_that_of_the_data(tmp_path: Path) -> None:
    path = write_file(tmp_path, "carn-x4", scale=3)
    assert load_config(path).data.scale == 3


def test_no_augment_is_none(tmp_path: Path) -> None:
    path = tiny.write_config(tmp_path, tiny.model(2))
    override = "train_dataset.wrapper.args.augment=null"
    assert load_config(path, [override]).data.augment == ()


def test_validation_measures_the_channel_of_the_file(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "psnr_type=y")
    assert config.psnr_channel == "y"
    network = stage_network(config, 0, None).trained
    pairs = validation_pairs(config.data.validation, None, 2, ())
    found = Validator(pairs, 2, config.psnr_channel).scores(network)["psnr_heavy_db"]
    expected = []
    for hr, lr in pairs:
        tensor = torch.from_numpy(lr).permute(2, 0, 1)[None] / 255
        assert isinstance(network, PCSR)
        with torch.no_grad():
            image = network(tensor, 2.0, -25.0).image[0].permute(1, 2, 0).numpy()
        expected.append(psnr(RGB8.from_network(image), hr, 2, "y"))
    assert found == pytest.approx(np.mean(expected))
    rgb = Validator(pairs, 2).scores(network)["psnr_heavy_db"]
    assert found > rgb + 0.5
    seen: list[dict[str, float]] = []
    still = ("phase=0", "optimizer.args.lr=1e-30", "lr_scheduler.args.eta_min=0")
    config = tiny.config(tmp_path, 2, "psnr_type=y", *still)
    Trainer(config, tmp_path / "run").run(lambda progress: seen.append(progress.validation))
    assert [score["psnr_heavy_db"] for score in seen if score] == [pytest.approx(found, abs=1e-3)]
