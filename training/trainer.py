"""Runs the training loop; resumed at any time, it ends as an unbroken run would."""

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pcsr.atomic import atomic_file, make_folder
from pcsr.errors import OutputError, UsageError
from pcsr.models import PCSR
from pcsr.models.checkpoint import Checkpoint, read_checkpoint, read_file
from pcsr.models.containers import load_content
from pcsr.models.values import shown
from pcsr.models.weights import check_state, check_weights

from .config import Config
from .data import Batches, open_source, stream
from .losses import average_loss, reconstruction_loss
from .optimizers import OPTIMIZERS
from .resuming import digest, resumed_from
from .sources.pairs import validation_pairs
from .sources.photos import HELD_OUT
from .stages import (
    FINISHED,
    StageNetwork,
    iterations_per_stage,
    stage_network,
    start_path,
    trained_stages,
)
from .validation import Validator

CHROMA_WEIGHT = 3
PREPARING = -1
"""Stands for the training stage where the data are made."""


@dataclass(frozen=True)
class Progress:
    """Says where a run is: after `iteration` of `total` in training stage `stage`."""

    stage: int
    iteration: int
    total: int
    losses: dict[str, float]
    """Of that batch."""
    validation: dict[str, float]
    """PSNR in dB where it was validated; else empty."""


class Trainer:
    """Trains what a config says into a folder: `stage-J.pth` on the way, `network.pth` at the end.

    Started again on the same folder it goes on where it was. Under torchrun every process trains on
    its own batches.
    """

    held_out: Sequence[str] = HELD_OUT
    """The sample photos that are validated on."""
    summary = ""
    """What there is to say at the end of a run."""

    def __init__(self, config: Config, folder: Path, device: str = "cpu") -> None:
        self._config = config
        self._folder = folder
        self._device = torch.device(device)
        self.rank, self._world = _join_group(self._device)
        self._digest = digest(config)
        self._iterations = iterations_per_stage(config, self._stages())
        self._trained = trained_stages(config, self._stages())
        self.notes = list(config.notes)
        """What a user should know before it starts."""
        self._start = self._starting_checkpoint()
        network = self._network(self._trained[0], None)
        if self._start is not None:
            network.start_from(self._start)  # what does not fit is refused before all else
        self._open_data()
        data = config.data
        held_out = (data.validation, data.lr_validation, data.scale, self.held_out)
        self._validator = Validator(validation_pairs(*held_out), data.scale, config.psnr_channel)
        self._refuse_other_phases()
        make_folder(folder)

    def _refuse_other_phases(self) -> None:
        """Raises OutputError where another phase was trained into the folder: its result would be
        replaced.
        """
        own = {self._path(stage).name for stage in self._trained}
        others = sorted({path.name for path in self._folder.glob("stage-*.pth")} - own)
        if self._config.phase is not None and others:
            raise OutputError(
                f"{self._folder} holds {others[0]} of another phase than {self._config.phase}, and "
                f"its {FINISHED} would be replaced; train this phase into another folder"
            )

    def run(self, report: Callable[[Progress], None]) -> Path:
        """Trains all remaining stages; returns the finished checkpoint."""
        before: PCSR | None = None
        for stage in self._trained:
            finished = self._run_stage(stage, before, report)
            before = finished.trained if isinstance(finished.trained, PCSR) else None
        path = self._folder / FINISHED
        self._save(path, self._checkpoint(finished))
        _leave_group()
        return path

    def _run_stage(
        self, stage: int, before: PCSR | None, report: Callable[[Progress], None]
    ) -> StageNetwork:
        network = self._network(stage, before).to(self._device)
        optimizer = _optimizer(self._config, network)
        done = self._resume(stage, network, optimizer)
        if stage == self._trained[0] and not done and self._start is not None:
            network.start_from(self._start)
        total = self._iterations[stage]
        batches = self._batches(stage, done, network, report) if done < total else ()
        step = DistributedDataParallel(network) if self._world > 1 else network
        for iteration, batch in enumerate(batches, done + 1):
            for group in optimizer.param_groups:
                rate = learning_rate(self._config, iteration - 1, total)
                group["lr"] = rate * group.get("share", 1)
            colourful = stage == 0 and iteration <= self._config.chroma_iterations
            resumed = (
                resumed_from(self._path(stage)) if 0 < done == iteration - 1 else nullcontext()
            )
            with resumed:  # a state that does not fit shows at its first use
                losses = self._step(step, optimizer, batch, CHROMA_WEIGHT if colourful else 0)
            _refuse_divergence(losses, stage, iteration)
            last = iteration == total
            if last or iteration % self._config.save_every == 0:
                self._save_stage(stage, iteration, network, optimizer)
            validated = last or iteration % self._config.validate_every == 0
            scores = self._validator.scores(network.trained) if validated and not self.rank else {}
            report(Progress(stage, iteration, total, losses, scores))
        return network.eval()

    def _step(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: tuple[torch.Tensor, ...],
        chroma_weight: float,
    ) -> dict[str, float]:
        network.train()
        batch = tuple(part.to(self._device, non_blocking=True) for part in batch)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bfloat16()):
            outputs = network(*batch)
        loss, losses = self._losses(outputs, chroma_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _stages(self) -> int:
        return max(1, len(self._config.network.upsamplers))  # a plain network has one

    def _network(self, stage: int, before: PCSR | None) -> StageNetwork:
        return stage_network(self._config, stage, before)

    def _starting_checkpoint(self) -> Checkpoint | None:
        """Reads what the first stage starts from; None where it goes on, or starts from nothing."""
        if self._path(self._trained[0]).exists():
            return None
        path = start_path(self._config, self._folder)
        if path is not None and path != self._config.start_from:
            self.notes.append(f"phase {self._config.phase} starts from {path}")
        return None if path is None else read_checkpoint(path)

    def _open_data(self) -> None:
        self._source = open_source(self._config.data)
        self.notes += self._source.notes

    def _batches(
        self, stage: int, done: int, network: StageNetwork, report: Callable[[Progress], None]
    ) -> Iterable[tuple[torch.Tensor, ...]]:
        total, data = self._iterations[stage], self._config.data
        batches = Batches(self._source, data, total, self._seed(stage))
        return stream(batches, done, total, data.workers, self._source.reads_files)

    def _seed(self, stage: int) -> tuple[int, ...]:
        return self._config.seed, stage, self.rank

    def _in_bfloat16(self) -> bool:
        return self._device.type == "cuda"

    def _losses(
        self, outputs: tuple[torch.Tensor, ...], chroma_weight: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Computes what is minimised from what a stage's network returns, and what is reported."""
        predicted, true, probabilities = outputs
        reconstruction = reconstruction_loss(predicted.float(), true.float(), chroma_weight)
        losses = {"reconstruction": reconstruction}
        loss = reconstruction
        if probabilities.shape[-1] > 1:
            losses["average"] = average_loss(probabilities.float())
            loss = self._config.reconstruction_weight * reconstruction
            loss = loss + self._config.average_weight * losses["average"]
        return loss, losses

    def _save_stage(
        self, stage: int, iteration: int, network: StageNetwork, optimizer: torch.optim.Optimizer
    ) -> None:
        data = {
            **self._checkpoint(network),
            "optimizer": optimizer.state_dict(),
            "iter": iteration,
            "config_sha256": self._digest,
        }
        self._save(self._path(stage), data)

    def _path(self, stage: int) -> Path:
        return self._folder / f"stage-{stage}.pth"

    def _checkpoint(self, network: StageNetwork) -> dict[str, Any]:
        norm = {"mean": list(self._config.mean), "std": list(self._config.std)}
        return {"model": network.model(), "data_norm": norm, "scale": self._config.data.scale}

    def _save(self, path: Path, data: dict[str, Any]) -> None:
        if self.rank == 0:
            buffer = io.BytesIO()  # torch.save hides why a file cannot be written
            torch.save(data, buffer)
            with atomic_file(path, overwrite=True) as temporary:
                temporary.write_bytes(buffer.getbuffer())

    def _resume(self, stage: int, network: StageNetwork, optimizer: torch.optim.Optimizer) -> int:
        path = self._path(stage)
        if not path.exists():
            return 0
        with resumed_from(path):
            data = read_file(path)
            saved = load_content(path, data)
            if saved["config_sha256"] != self._digest:
                raise OutputError(
                    f"{path} was trained with another config; use the same one to go on, or "
                    "another folder"
                )
            weights = check_weights(path, saved["model"]["sd"], len(data))
            network.saved.load_state_dict(weights)
            check_state(path, saved["optimizer"], len(data))
            optimizer.load_state_dict(saved["optimizer"])
            done, total = saved["iter"], self._iterations[stage]
            if type(done) is not int or not 0 < done <= total:
                raise ValueError(f"expected an iteration from 1 to {total}, found {shown(done)}")
            return done


def _optimizer(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    return OPTIMIZERS[config.optimizer](
        network, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )


def learning_rate(config: Config, iteration: int, total: int) -> float:
    """Anneals by cosine from `learning_rate` at iteration 0 to `least_learning_rate` at `total`."""
    share = (1 + math.cos(math.pi * iteration / total)) / 2
    least = config.least_learning_rate
    return least + (config.learning_rate - least) * share


def _refuse_divergence(losses: Mapping[str, float], stage: int, iteration: int) -> None:
    if not all(map(math.isfinite, losses.values())):
        raise UsageError(
            f"the loss is no finite number in iteration {iteration} of stage {stage}; delete "
            f"stage-{stage}.pth and train with a lower optimizer.args.lr"
        )


def _leave_group() -> None:
    """Waits for all processes, and leaves them: one that ends first would abort the others."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _join_group(device: torch.device) -> tuple[int, int]:
    """Joins the process group that torchrun describes; returns (rank, world size)."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return (distributed.get_rank(), world) if world > 1 else (0, 1)
