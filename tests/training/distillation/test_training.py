"""Learning from a teacher: what is taken, what is frozen, that it learns, and that it resumes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pcsr import OutputError, Upscaler
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.models.checkpoint import read_checkpoint
from pcsr.training.config import Config
from pcsr.training.distillation import comparison
from pcsr.training.distillation import trainer as module
from pcsr.training.trainer import Progress
from tests.checkpoints import Data, liif_checkpoint, plain_checkpoint, tiny
from tests.training.distillation import students

Weights = dict[str, torch.Tensor]
ENCODER = "encoder.encoder."


def ignore(progress: Progress) -> None:
    """No report."""


@pytest.fixture(autouse=True)
def uncompared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the table at the end, which exports both networks."""
    monkeypatch.setattr(module, "compare", lambda *_: "compared")


def train(config: Config, folder: Path, report: Callable[[Progress], None] = ignore) -> Weights:
    path = students.trainer(config, folder).run(report)
    weights: Weights = torch.load(path, weights_only=True)["model"]["sd"]
    return weights


def taken(weights: Weights, prefix: str = ENCODER) -> Weights:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def equal(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def theirs(teacher: Data, prefix: str) -> Weights:
    found = taken(teacher["model"]["sd"], prefix)
    return {name: w for name, w in found.items() if not name.startswith(("sub_mean", "add_mean"))}


def test_a_frozen_backbone_stays_the_teachers(tmp_path: Path) -> None:
    weights = train(students.config(tmp_path), tmp_path / "run")
    assert equal(taken(weights), theirs(liif_checkpoint(), "encoder."))


def test_a_backbone_that_is_not_frozen_starts_as_the_teachers_and_learns(tmp_path: Path) -> None:
    config = students.config(tmp_path, "teacher.freeze=false", "optimizer.args.lr=1.e-6")
    weights, before = taken(train(config, tmp_path / "run")), theirs(liif_checkpoint(), "encoder.")
    assert not equal(weights, before)
    for name, weight in before.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-4)


def test_without_a_neck_the_features_are_the_teachers(tmp_path: Path) -> None:
    config = students.config(tmp_path, encoder={"name": "teacher"})
    weights = train(config, tmp_path / "run")
    assert equal(taken(weights, "encoder."), theirs(liif_checkpoint(), "encoder."))


@pytest.mark.parametrize(
    "teacher", [plain_checkpoint("srresnet", 2), plain_checkpoint("carn", 2), tiny("carn")]
)
def test_plain_networks_and_pcsr_teach_too(teacher: Data, tmp_path: Path) -> None:
    weights = train(students.config(tmp_path, teacher=teacher), tmp_path / "run")
    pcsr = teacher["model"]["name"].startswith("pcsr")
    sd = theirs(teacher, "encoder." if pcsr else "")
    kept = taken(weights)
    assert kept
    assert all(torch.equal(weight, sd[name]) for name, weight in kept.items())


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1e-2), ("muon", 5e-2)])
def test_it_comes_nearer_to_the_teacher(optimizer: str, rate: float, tmp_path: Path) -> None:
    losses: list[float] = []

    def note(progress: Progress) -> None:
        if progress.stage == 0:
            losses.append(progress.losses["upsampler_0"])

    overrides = [f"optimizer.name={optimizer}", "iter_max=[150,1]", f"optimizer.args.lr={rate}"]
    train(students.config(tmp_path, *overrides), tmp_path / "run", note)
    assert sum(losses[-30:]) < 0.7 * sum(losses[:30])


@pytest.mark.parametrize("at", [(0, 1), (0, 3), (1, 2), (1, 6)])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_run_killed_anywhere_ends_as_an_unbroken_one(
    at: tuple[int, int], optimizer: str, tmp_path: Path
) -> None:
    def kill(progress: Progress) -> None:
        if (progress.stage, progress.iteration) == at:
            raise KeyboardInterrupt

    config = students.config(tmp_path, f"optimizer.name={optimizer}")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "broken", kill)
    assert equal(train(config, tmp_path / "broken"), train(config, tmp_path / "unbroken"))


def test_stage_0_leaves_the_classifier_and_stage_1_all_else(tmp_path: Path) -> None:
    weights = train(students.config(tmp_path), tmp_path / "run")
    first = torch.load(tmp_path / "run" / "stage-0.pth", weights_only=True)["model"]["sd"]
    changed = {
        name.split(".")[0] for name in weights if not torch.equal(weights[name], first[name])
    }
    assert {name.split(".")[0] for name in changed} == {"classifier"}


def test_the_result_exports_with_the_teachers_normalisation(tmp_path: Path) -> None:
    train(students.config(tmp_path), tmp_path / "run")
    path = tmp_path / "run" / "network.pth"
    checkpoint = read_checkpoint(path)
    assert checkpoint.training["data_norm"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert checkpoint.training["scale"] == 2
    export_bundle(path, tmp_path / "bundle", ExportOptions())
    assert Upscaler(tmp_path / "bundle").bundle.upsamplers == 2


def test_the_comparison_is_written_and_told(tmp_path: Path) -> None:
    made = students.trainer(students.config(tmp_path), tmp_path / "run")
    made.run(ignore)
    assert made.summary == "compared"
    assert (tmp_path / "run" / "comparison.md").read_text() == "compared\n"


def test_a_finished_run_draws_no_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = students.config(tmp_path)
    first = train(config, tmp_path / "run")
    monkeypatch.setattr(module, "draw_patches", None)
    assert equal(train(config, tmp_path / "run"), first)


def test_a_run_of_another_teacher_is_refused_and_one_that_moved_goes_on(tmp_path: Path) -> None:
    first = train(students.config(tmp_path), tmp_path / "run")
    moved = (tmp_path / "teacher.pth").rename(tmp_path / "moved.pth")
    assert equal(train(students.config(tmp_path), tmp_path / "run"), first)
    assert moved.exists()
    other = students.config(tmp_path, teacher=liif_checkpoint((24,)))
    with pytest.raises(OutputError, match="was trained with another config"):
        train(other, tmp_path / "run")


def test_a_whole_run_compares_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compare", comparison.compare)
    made = students.trainer(students.config(tmp_path), tmp_path / "run")
    made.run(ignore)
    lines = [[cell.strip() for cell in line.split("|")[1:3]] for line in made.summary.splitlines()]
    networks = ["teacher", "PCSR, all heavy", "PCSR, default", "PCSR, all light", "bicubic"]
    assert lines[2:] == [[scale, name] for scale in ("x2", "x1.5") for name in networks]
