"""Chooses the training loop that a config asks for."""

from pathlib import Path

from pcsr.training.config import Config
from pcsr.training.trainer import Trainer

from .trainer import DistillingTrainer


def trainer_of(config: Config, folder: Path, device: str = "cpu") -> Trainer:
    """Makes what trains a config into a folder: from a teacher, or as published."""
    if config.distillation is None:
        return Trainer(config, folder, device)
    return DistillingTrainer(config, config.distillation, folder, device)
