"""Which layers may be quantised: each one's own damage, then as many as the bound allows."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from pcsr.calibration.work_file import WorkFile
from pcsr.errors import UsageError
from pcsr.export.graphs.layers import Layers

from .quality import Bound, Figures, Judge, mean_error, mean_loss_db
from .ranges import LEVELS

MUCH_BETTER = 0.75
Watch = Callable[[Iterable[Any], str], AbstractContextManager[Iterable[Any]]]
Build = Callable[[float, Collection[str]], Any]
"""(level of the ranges, quantised layers) -> a session."""


@dataclass(frozen=True)
class Layer:
    """A convolution. Figures of it alone being quantised; None where it never is."""

    name: str
    weights: int
    psnr_loss_db: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Found:
    """Layers in the order of the graph, the quantised ones among them, the level of the ranges,
    and the figures on the whole images.
    """

    layers: tuple[Layer, ...]
    quantised: tuple[str, ...]
    level: float
    figures: tuple[Figures, ...]


@dataclass(frozen=True)
class Search:
    """Looks for the layers of one target. `crops` judges the many candidates, `whole` the last.

    Every evaluation is kept in `work`, so that an interrupted search goes on where it was.
    """

    target: str
    build: Build
    crops: Judge
    whole: Judge
    bound: Bound
    work: WorkFile
    watch: Watch

    def run(self, model: onnx.ModelProto) -> Found:
        """Raises UsageError where not one layer can be quantised within the bound."""
        layers = Layers(model)
        fixed = [Layer(n.name, layers.weights[n.input[1]].size) for n in layers.convolutions]
        candidates = fixed[1:-1]
        if not candidates:
            raise UsageError(
                f"the network has {len(fixed)} convolutions, and the first and the last stay in "
                "float32: there is nothing to quantise"
            )
        level = self._best_level([layer.name for layer in candidates])
        with self.watch(candidates, f"{self.target}: each layer alone") as watched:
            alone = {layer.name: self._alone(layer, level) for layer in watched}
        chosen, figures = self._greedy([*alone.values()], level)
        measured = tuple(alone.get(layer.name, layer) for layer in fixed)
        names = tuple(layer.name for layer in measured if layer.name in chosen)
        return Found(measured, names, level, tuple(figures))

    def _best_level(self, names: Sequence[str]) -> float:
        """The widest ranges, or narrower ones that do much better: other images than these may
        need the width.
        """
        with self.watch(LEVELS, f"{self.target}: ranges") as watched:
            found = [
                (level, mean_error(self._figures(self.crops, level, names))) for level in watched
            ]
        best, least = found[0]
        for level, error in found[1:]:
            if error < MUCH_BETTER * least:
                best, least = level, error
        return float(best)

    def _alone(self, layer: Layer, level: float) -> Layer:
        figures = self._figures(self.crops, level, [layer.name])
        return Layer(layer.name, layer.weights, mean_loss_db(figures), mean_error(figures))

    def _greedy(self, layers: Sequence[Layer], level: float) -> tuple[set[str], list[Figures]]:
        """All layers but those that harm most for what they save, until the bound holds."""
        chosen = {layer.name for layer in layers}
        worst = sorted(layers, key=lambda layer: (layer.error or 0) / layer.weights, reverse=True)
        with self.watch(worst, f"{self.target}: within the bound") as watched:
            for layer in watched:
                if self.bound.holds(self._figures(self.crops, level, chosen)):
                    figures = self._figures(self.whole, level, chosen)
                    if self.bound.holds(figures):
                        return chosen, figures
                chosen.remove(layer.name)
        raise UsageError(self._hopeless())

    def _figures(self, judge: Judge, level: float, chosen: Collection[str]) -> list[Figures]:
        names = sorted(chosen)
        where = "whole" if judge is self.whole else "crops"
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

        def compute() -> list[dict[str, Any]]:
            return [asdict(f) for f in judge.figures(self.build(level, names))]

        found = self.work.answer(f"{self.target} {level} {where} {digest}", compute)
        return [Figures(**figures) for figures in found]

    def _hopeless(self) -> str:
        if self.whole.samples[0].hr is None:
            limit = f"a fidelity of {self.bound.min_fidelity_db:g} dB; lower --min-fidelity-db"
        else:
            limit = f"a loss of {self.bound.max_psnr_loss_db:g} dB; raise --max-psnr-loss-db"
        return f"{self.target}: not one layer can be quantised within {limit}"


def as_rows(found: Found) -> list[Mapping[str, Any]]:
    """The layers for a report: each with `quantised`."""
    return [asdict(layer) | {"quantised": layer.name in found.quantised} for layer in found.layers]
