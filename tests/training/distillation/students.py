"""Runs of a second: a tiny network that learns from a tiny random LIIF, or from a plain network."""

from pathlib import Path
from typing import Any

import yaml

from pcsr.training.config import Config, load_config
from pcsr.training.distillation.run import trainer_of
from pcsr.training.distillation.trainer import DistillingTrainer
from tests.checkpoints import Data, liif_checkpoint, save
from tests.training import tiny

NECK = {"blocks": 1, "features": 12}
SAMPLERS = {"heavy_sampler_spec": tiny.sampler(8, 8), "light_sampler_spec": tiny.sampler(4)}
EXTENDED = {"name": "extended", "args": {"encoder": {"name": "teacher"}, "neck": NECK}}


def write_config(folder: Path, encoder: dict[str, Any] | None = None) -> Path:
    """A config whose network continues its teacher's backbone."""
    args = {"encoder_spec": encoder or EXTENDED, "classifier_spec": tiny.sampler(4), **SAMPLERS}
    file = tiny.write_config(folder, {"name": "pcsr-phase1", "args": args})
    text = yaml.safe_load(file.read_text())
    text["teacher"] = {"patches": 6}
    text["train_dataset"]["wrapper"]["args"]["scale"] = [1.5, 2]
    file.write_text(yaml.safe_dump(text))
    return file


def config(
    folder: Path,
    *overrides: str,
    teacher: Data | None = None,
    encoder: dict[str, Any] | None = None,
) -> Config:
    path = save(teacher or liif_checkpoint(), folder / "teacher.pth")
    file = write_config(folder, encoder)
    return load_config(file, [f"teacher.path={path}", *overrides])


def trainer(config: Config, folder: Path) -> DistillingTrainer:
    made = trainer_of(config, folder)
    assert isinstance(made, DistillingTrainer)
    return made
