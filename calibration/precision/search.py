"""Finds which layers may be quantised: each one's own damage, then as many as the bound allows."""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import onnx

from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.errors import UsageError
from pcsr.export.graphs.layers import Layers

from .copies import choose_copies, multiplications
from .quality import ImageFigures, QualityBound, QualityComparison, mean_figures
from .ranges import LEVELS

MUCH_BETTER = 0.75
Write = Callable[[float, Collection[str], Collection[str]], onnx.ModelProto]
"""(level of the ranges, quantised layers, tensors in copies) -> a graph."""


@dataclass(frozen=True)
class LayerFigures:
    """Says what a convolution costs when it alone is quantised; None where it never is."""

    name: str
    weights: int
    psnr_loss_db: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """Says which layers are quantised, and what that costs."""

    layers: tuple[LayerFigures, ...]
    """All layers, in the order of the graph."""
    quantised: tuple[str, ...]
    copied: tuple[str, ...]
    """The tensors that are stored in copies, where what reads them is quantised."""
    level: float
    figures: tuple[ImageFigures, ...]
    """On the whole images."""


@dataclass(frozen=True)
class Search:
    """Looks for the layers of one set; keeps every evaluation in `work`, to go on from there."""

    platform: str
    write: Write
    open: Callable[[onnx.ModelProto], Any]
    copyable: Callable[[onnx.ModelProto], list[str]]
    """Lists the tensors of a graph that may be stored in copies."""
    crops: QualityComparison
    """Compares the many candidates."""
    whole: QualityComparison
    """Compares the last ones."""
    bound: QualityBound
    work: WorkFile
    watch: ShowProgress

    def run(self, model: onnx.ModelProto) -> SearchResult:
        """Finds the layers. Raises UsageError where not one can be quantised within the bound."""
        layers = Layers(model)
        fixed = [LayerFigures(n.name, layers.weights[n.input[1]].size) for n in layers.convolutions]
        candidates = fixed[1:-1]
        if not candidates:
            raise UsageError(
                f"the network has {len(fixed)} convolutions, and the first and the last stay in "
                "float32: there is nothing to quantise"
            )
        names = [layer.name for layer in candidates]
        level = self._best_level(names)
        copied = self._copied(level, names)
        with self.watch(candidates, f"{self.platform}: each layer alone") as watched:
            alone = {layer.name: self._alone(layer, level) for layer in watched}
        chosen, figures = self._greedy([*alone.values()], level, copied)
        measured = tuple(alone.get(layer.name, layer) for layer in fixed)
        quantised = tuple(layer.name for layer in measured if layer.name in chosen)
        return SearchResult(measured, quantised, copied, level, tuple(figures))

    def _best_level(self, names: Sequence[str]) -> float:
        """Takes the widest ranges, which other images may need, or much better narrow ones."""
        best, least = LEVELS[0], math.inf
        with self.watch(LEVELS, f"{self.platform}: ranges") as watched:
            for level in watched:
                error = fmean(f.error for f in self._figures(self.crops, level, names))
                if error < MUCH_BETTER * least:
                    best, least = level, error
        return best

    def _copied(self, level: float, names: Sequence[str]) -> tuple[str, ...]:
        def error(copied: Collection[str]) -> float:
            return fmean(f.error for f in self._figures(self.crops, level, names, copied))

        def count(copied: Collection[str]) -> int:
            return multiplications(self.write(level, names, copied))

        return choose_copies(self.copyable(self.write(level, names, ())), error, count, self.watch)

    def _alone(self, layer: LayerFigures, level: float) -> LayerFigures:
        figures = self._figures(self.crops, level, [layer.name])
        means = mean_figures(figures)
        return replace(layer, psnr_loss_db=means["psnr_loss_db"], error=means["error"])

    def _greedy(
        self, layers: Sequence[LayerFigures], level: float, copied: Collection[str]
    ) -> tuple[set[str], list[ImageFigures]]:
        """Takes all layers but those that harm most for what they save, until the bound holds."""
        chosen = {layer.name for layer in layers}
        worst = sorted(layers, key=lambda layer: (layer.error or 0) / layer.weights, reverse=True)
        with self.watch(worst, f"{self.platform}: within the bound") as watched:
            for layer in watched:
                if self.bound.holds(self._figures(self.crops, level, chosen, copied)):
                    figures = self._figures(self.whole, level, chosen, copied)
                    if self.bound.holds(figures):
                        return chosen, figures
                chosen.remove(layer.name)
        if self.whole.samples[0].hr is None:
            limit = f"a fidelity of {self.bound.min_fidelity_db:g} dB; lower --min-fidelity-db"
        else:
            limit = f"a loss of {self.bound.max_psnr_loss_db:g} dB; raise --max-psnr-loss-db"
        raise UsageError(f"{self.platform}: not one layer can be quantised within {limit}")

    def _figures(
        self,
        comparison: QualityComparison,
        level: float,
        chosen: Collection[str],
        copied: Collection[str] = (),
    ) -> list[ImageFigures]:
        names = sorted(chosen)
        where = "whole" if comparison is self.whole else "crops"
        digest = hashlib.sha256("\n".join([*names, "", *sorted(copied)]).encode()).hexdigest()[:16]
        found = self.work.answer(
            f"{self.platform} {level} {where} {digest}",
            lambda: [
                asdict(f) for f in comparison.figures(self.open(self.write(level, names, copied)))
            ],
        )
        return [ImageFigures(**figures) for figures in found]


def as_rows(found: SearchResult) -> list[Mapping[str, Any]]:
    """Lists the layers for a report, each with `quantised`."""
    return [asdict(layer) | {"quantised": layer.name in found.quantised} for layer in found.layers]
