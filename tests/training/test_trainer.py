"""Runs: the same result whether interrupted or not, readable by the exporter, guarded."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr import CheckpointError, OutputError, Upscaler, UsageError
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.export.network import NetworkSettings
from pcsr.models.checkpoint import read_checkpoint
from pcsr.training.config import Config
from pcsr.training.trainer import Progress, Trainer
from tests.checkpoints import save
from tests.commands import snapshot
from tests.training import tiny

Weights = dict[str, torch.Tensor]


def ignore(progress: Progress) -> None:
    """No report."""


def killed_at(stage: int, iteration: int) -> Callable[[Progress], None]:
    """A report that ends the run there."""

    def kill(progress: Progress) -> None:
        if (progress.stage, progress.iteration) == (stage, iteration):
            raise KeyboardInterrupt

    return kill


def train(config: Config, folder: Path) -> Weights:
    path = Trainer(config, folder).run(ignore)
    weights: Weights = torch.load(path, weights_only=True)["model"]["sd"]
    return weights


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(
    scope="module", params=[("optimizer.name=adam",), ("optimizer.name=soap", "iter_max=12")]
)  # soap renews its eigenbasis at 10
def unbroken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Weights]:
    """A config and what a run that nothing breaks makes of it."""
    folder = tmp_path_factory.mktemp("unbroken")
    config = tiny.config(folder, 2, *request.param)
    return config, train(config, folder / "run")


@pytest.mark.parametrize(("stage", "iteration"), [(0, 1), (0, 3), (0, 6), (1, 2), (1, 5)])
def test_a_run_killed_anywhere_ends_as_an_unbroken_one(
    stage: int, iteration: int, unbroken: tuple[Config, Weights], tmp_path: Path
) -> None:
    config, expected = unbroken
    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "broken").run(killed_at(stage, iteration))
    assert same(train(config, tmp_path / "broken"), expected)


def test_a_finished_run_started_again_changes_nothing(tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    assert same(train(config, tmp_path / "run"), train(config, tmp_path / "run"))


def test_another_seed_gives_another_network(tmp_path: Path) -> None:
    first = train(tiny.config(tmp_path), tmp_path / "a")
    assert not same(first, train(tiny.config(tmp_path, 2, "seed=1"), tmp_path / "b"))


def test_workers_do_not_change_the_result(tmp_path: Path) -> None:
    first = train(tiny.config(tmp_path), tmp_path / "a")
    second = tiny.config(tmp_path, 2, "train_dataset.num_workers=1")
    assert same(first, train(second, tmp_path / "b"))


def test_training_reduces_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    config = tiny.config(tmp_path, 2, "iter_max=[150,1]", "optimizer.args.lr=0.005")
    Trainer(config, tmp_path / "run").run(lambda p: losses.append(p.losses["reconstruction"]))
    assert np.mean(losses[120:150]) < 0.8 * np.mean(losses[:20])


def test_colour_weighs_more_at_the_beginning(tmp_path: Path) -> None:
    runs: list[list[float]] = []
    for count in (0, 2):
        losses: list[float] = []
        config = tiny.config(
            tmp_path, 2, f"loss_chroma_iter={count}", "iter_max=3", "optimizer.args.lr=1e-30"
        )
        Trainer(config, tmp_path / f"run-{count}").run(
            lambda p, losses=losses: losses.append(p.losses["reconstruction"])  # type: ignore[misc]
        )
        runs.append(losses)
    ratio = np.divide(runs[1], runs[0])  # of three iterations of each of two stages
    assert (ratio[:2] > 1.1).all()
    assert ratio[2:] == pytest.approx([1] * 4)


@pytest.mark.parametrize("upsamplers", [1, 2, 3])
def test_every_stage_can_be_exported(upsamplers: int, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, upsamplers)
    Trainer(config, tmp_path / "run").run(ignore)
    for stage in range(upsamplers):
        assert (
            len(read_checkpoint(tmp_path / "run" / f"stage-{stage}.pth").description.upsamplers)
            == stage + 1
        )
    bundle = export_bundle(tmp_path / "run" / "network.pth", tmp_path / "bundle", ExportOptions())
    result = Upscaler(bundle.bundle.path)(np.zeros((6, 7, 3), np.uint8), 2)
    assert result.image.shape == (12, 14, 3)
    assert len(result.stats.pixels_per_upsampler) == upsamplers


def test_progressive_patches(tmp_path: Path) -> None:
    seen: list[int] = []
    config = tiny.config(tmp_path, 2, "train_dataset.wrapper.args.inp_size=[6,12]", "iter_max=4")
    trainer = Trainer(config, tmp_path / "run")
    step = trainer._step

    def watched(network: Any, optimizer: Any, batch: Any, chroma_weight: float) -> dict[str, float]:  # noqa: ANN401
        seen.append(batch[0].shape[-1])
        return step(network, optimizer, batch, chroma_weight)

    trainer._step = watched  # type: ignore[method-assign]
    trainer.run(ignore)
    assert seen == [6, 6, 12, 12] * 2


def test_validation_scores_heavy_and_routed(tmp_path: Path) -> None:
    scores: list[dict[str, float]] = []
    Trainer(tiny.config(tmp_path), tmp_path / "run").run(
        lambda progress: scores.append(progress.validation)
    )
    assert [sorted(score) for score in scores if score] == [
        ["psnr_heavy_db"],
        ["psnr_db", "psnr_heavy_db"],
    ]


def test_a_plain_network_starts_the_backbone(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "optimizer.args.lr=1e-30", "lr_scheduler.args.eta_min=0")
    donor = train(config, tmp_path / "donor")
    plain = {
        name.removeprefix("encoder."): weight + 1
        for name, weight in donor.items()
        if name.startswith("encoder.")
    }
    ckpt = save(
        {"model": {"name": "fsrcnn", "args": {"d": 6, "s": 4, "m": 1}, "sd": plain}},
        tmp_path / "plain.pth",
    )
    started = tiny.config(
        tmp_path, 2, f"init_path={ckpt}", "optimizer.args.lr=1e-30", "lr_scheduler.args.eta_min=0"
    )
    weights = train(started, tmp_path / "run")
    for name, weight in plain.items():
        torch.testing.assert_close(weights[f"encoder.{name}"], weight)


@pytest.mark.parametrize("upsamplers", [1, 2, 3])
def test_another_pcsr_starts_backbone_and_heaviest_upsampler(
    upsamplers: int, tmp_path: Path
) -> None:
    donor = Trainer(tiny.config(tmp_path, upsamplers), tmp_path / "donor").run(ignore)
    still = ("optimizer.args.lr=1e-30", "lr_scheduler.args.eta_min=0", "seed=5")
    weights = train(tiny.config(tmp_path, 2, f"init_path={donor}", *still), tmp_path / "run")
    for name, weight in torch.load(donor, weights_only=True)["model"]["sd"].items():
        if name.startswith(("encoder.", "heavy_sampler.", "sampler_0.")):
            torch.testing.assert_close(
                weights[name.replace("sampler_0.", "heavy_sampler.")], weight
            )


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = {"name": "fsrcnn", "args": {}, "sd": {"head_conv.0.weight": torch.zeros(1)}}
    ckpt = save({"model": model}, tmp_path / "plain.pth")
    config = tiny.config(tmp_path, 2, f"init_path={ckpt}")
    with pytest.raises(CheckpointError, match="does not hold this network"):
        Trainer(config, tmp_path / "run").run(ignore)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(tiny.config(tmp_path), tmp_path / "run")
    other = tiny.config(tmp_path, 2, "loss_avg_w=7")
    with pytest.raises(OutputError, match="another config"):
        train(other, tmp_path / "run")


SPOILT: dict[str, Callable[[dict[str, Any]], object]] = {
    "no optimizer": lambda d: d.pop("optimizer"),
    "a list": lambda d: d.update(optimizer=[1]),
    "text as a moment": lambda d: d["optimizer"]["state"][0].update(exp_avg="a"),
    "a moment of another shape": lambda d: d["optimizer"]["state"][0].update(
        exp_avg=torch.zeros(3)
    ),
    "values without end": lambda d: d["optimizer"]["state"][0].update(
        exp_avg=torch.zeros(1).expand(2**31)
    ),
    "betas as text": lambda d: d["optimizer"]["param_groups"][0].update(betas="ab"),
    "after the end": lambda d: d.update(iter=10**9),
    "iteration as text": lambda d: d.update(iter="3"),
    "diverged": lambda d: next(iter(d["model"]["sd"].values())).fill_(torch.nan),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_state_that_is_none_is_not_resumed(kind: str, tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "run").run(killed_at(0, 5))
    path = tmp_path / "run" / "stage-0.pth"
    data = torch.load(path, weights_only=True)
    SPOILT[kind](data)
    save(data, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"stage-0\.pth") as refusal:
        Trainer(config, tmp_path / "run").run(ignore)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    trainer = Trainer(config, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(killed_at(0, 3))
    before = snapshot(tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*stage-0\.pth: File too large"):
            Trainer(config, tmp_path / "run").run(ignore)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot(tmp_path / "run") == before


def test_a_run_may_go_on_with_other_workers_and_saved_more_often(tmp_path: Path) -> None:
    unbroken = train(tiny.config(tmp_path), tmp_path / "unbroken")

    with pytest.raises(KeyboardInterrupt):
        Trainer(tiny.config(tmp_path), tmp_path / "run").run(killed_at(1, 3))
    other = tiny.config(tmp_path, 2, "train_dataset.num_workers=1", "iter_save=1", "iter_val=2")
    assert same(train(other, tmp_path / "run"), unbroken)


def test_photos_smaller_than_a_patch_are_refused(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "train_dataset.wrapper.args.inp_size=500")
    with pytest.raises(UsageError, match="no training photo is at least 1000 px"):
        Trainer(config, tmp_path / "run").run(ignore)


def test_iterations_fit_the_stages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 numbers for 2 stages"):
        Trainer(tiny.config(tmp_path, 2, "iter_max=[1,2,3]"), tmp_path / "run")


def test_a_plain_network_is_trained_and_exported(tmp_path: Path) -> None:
    losses: list[float] = []
    config = tiny.plain_config(tmp_path, "iter_max=60", "optimizer.args.lr=0.003")
    path = Trainer(config, tmp_path / "run").run(
        lambda p: losses.append(p.losses["reconstruction"])
    )
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    bundle = export_bundle(path, tmp_path / "bundle", ExportOptions()).bundle
    assert bundle.kind == "plain"
    assert Upscaler(bundle.path)(np.zeros((6, 7, 3), np.uint8)).image.shape == (12, 14, 3)


def test_a_plain_network_killed_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    config = tiny.plain_config(tmp_path)
    unbroken = train(config, tmp_path / "unbroken")

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "broken").run(killed_at(0, 3))
    assert same(train(config, tmp_path / "broken"), unbroken)


def test_a_plain_network_goes_on_from_another(tmp_path: Path) -> None:
    donor = Trainer(tiny.plain_config(tmp_path), tmp_path / "donor").run(ignore)
    still = ("optimizer.args.lr=1e-30", "lr_scheduler.args.eta_min=0")
    config = tiny.plain_config(tmp_path, f"init_path={donor}", *still)
    expected = torch.load(donor, weights_only=True)["model"]["sd"]
    for name, weight in train(config, tmp_path / "run").items():
        torch.testing.assert_close(weight, expected[name])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train_dataset.wrapper.args.scale=[3,3]", "upscales x2, the data x3"),
        ("model.args.no_upsampling=true", "neither PCSR nor a plain network"),
    ],
)
def test_a_plain_network_without_the_right_tail_is_refused(
    override: str, message: str, tmp_path: Path
) -> None:
    config = tiny.plain_config(tmp_path, override)
    with pytest.raises(UsageError, match=message):
        Trainer(config, tmp_path / "run").run(ignore)


@pytest.mark.parametrize("plain", [False, True], ids=["pcsr", "plain"])
def test_the_checkpoint_carries_what_the_exporter_must_know(plain: bool, tmp_path: Path) -> None:
    norm = ("data_norm.mean=[0.1,0.2,0.3]", "data_norm.std=[0.5,0.6,0.7]", "iter_max=1")
    config = (tiny.plain_config if plain else tiny.config)(
        tmp_path, *(() if plain else (2,)), *norm
    )
    path = Trainer(config, tmp_path / "run").run(ignore)
    manifest = export_bundle(path, tmp_path / "bundle", ExportOptions()).bundle.manifest
    assert manifest.model.mean == pytest.approx((0.1, 0.2, 0.3))
    assert manifest.model.std == pytest.approx((0.5, 0.6, 0.7))
    assert manifest.trained_scale == 2
    settings = NetworkSettings(mean=(0.4, 0.5, 0.6))
    options = ExportOptions(settings=settings, overwrite=True)
    manifest = export_bundle(path, tmp_path / "bundle", options).bundle.manifest
    assert manifest.model.mean == pytest.approx((0.4, 0.5, 0.6))
    assert manifest.model.std == pytest.approx((0.5, 0.6, 0.7))


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    tiny.config(tmp_path)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = ["-m", "pcsr.training.cli", str(tmp_path / "config.yaml"), "-o", str(tmp_path / "run")]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(
        launch + run, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    together = torch.load(tmp_path / "run" / "network.pth", weights_only=True)["model"]["sd"]
    alone = train(tiny.config(tmp_path), tmp_path / "alone")
    assert together.keys() == alone.keys()
    assert not same(together, alone)


def test_a_run_that_diverges_ends_with_what_to_do(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "optimizer.args.lr=1e30")
    with pytest.raises(UsageError, match=r"no finite number in iteration \d of stage 0; .*lower"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "network.pth").exists()
