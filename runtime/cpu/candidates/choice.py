"""The choice at opening: which of several ways computes an image graph in 16 or 8 bits."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from pcsr.bundle import Bundle
from pcsr.errors import BackendError
from pcsr.runtime.backends import CPU_SETS
from pcsr.runtime.cpu.pipeline import Runner
from pcsr.runtime.machine import bf16_instructions, cpu_name, usable_cores
from pcsr.runtime.trials.memory import key_of, remember, remembered
from pcsr.runtime.trials.outcome import TrialOutcome

from .openvino import OpenVinoRunner, is_forked
from .trial import Open, Probe, opened, tried

LOG = logging.getLogger("pcsr.upscaler")
ORT, OPENVINO, NATIVE = "ONNX Runtime", "OpenVINO", "native convolutions"


@dataclass(frozen=True)
class Chosen:
    """What runs an image graph, and a line on why."""

    runner: Runner
    line: str


def choose_runner(bundle: Bundle, precision: str, threads: int) -> Chosen:
    """Opens the fastest way to compute the image graph of a bundle in `bf16` or `int8` here: by
    what a trial has found on this machine before, or else by a trial.

    Raises:
        BackendError: the processor does not multiply in bf16, or nothing that computes it is
            installed; each reason is named.
        BundleError: the graph is damaged.
    """
    if precision == "bf16" and not bf16_instructions():
        raise BackendError(
            f"{cpu_name()} has no instructions for bf16 (avx512_bf16 or AMX); pass --precision fp32"
        )
    return _Choice(bundle, precision, threads).made()


def candidates_of(bundle: Bundle, precision: str, threads: int) -> Mapping[str, Open]:
    """Lists the ways to compute an image graph, by name."""
    native = partial(_native, bundle, precision, threads)
    if precision == "bf16":
        return {NATIVE: native, OPENVINO: partial(OpenVinoRunner, bundle, threads)}
    return {ORT: partial(_in_onnxruntime, bundle, precision, threads), NATIVE: native}


class _Choice:
    """The choice for one graph."""

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        self._bundle, self._precision, self._threads = bundle, precision, threads
        self._role = bundle.image_role
        self._candidates = dict(candidates_of(bundle, precision, threads))
        self._dropped: dict[str, str] = {}

    def made(self) -> Chosen:
        graphs = self._bundle.graphs(CPU_SETS.get(self._precision, "fp32"))
        key = key_of(self._role, graphs[self._role].sha256, self._precision, self._threads)
        before = remembered(key)
        # A winner that cannot be opened today is not forgotten: it may be tomorrow.
        keep = partial(remember, key) if before is None else _forget
        return self._as_before(before) or self._by_trial(keep)

    def _as_before(self, outcome: TrialOutcome | None) -> Chosen | None:
        """Opens the winner of an earlier trial, if it can be opened."""
        if outcome is None or outcome.winner not in self._candidates:
            return None
        winner = outcome.winner
        runners, dropped = opened({winner: self._candidates[winner]})
        self._drop(dropped)
        return Chosen(runners[winner], self._line(outcome)) if runners else None

    def _by_trial(self, keep: Callable[[TrialOutcome], None]) -> Chosen:
        self._bundle.graph_bytes(self._role, CPU_SETS.get(self._precision, "fp32"))
        left = {name: one for name, one in self._candidates.items() if name not in self._dropped}
        runners, failed = opened(left)
        self._drop(failed)
        if [*runners] == [ORT]:
            return Chosen(runners[ORT], f"{self._role}: {ORT}")
        outcome = TrialOutcome("", {}, {})
        if runners:
            reference = runners.get(ORT) or _in_onnxruntime(self._bundle, "fp32", self._threads)
            probe = Probe.of(self._bundle, reference, self._precision)
            outcome = tried(runners, probe, NATIVE)
            self._drop(outcome.dropped)
        if not outcome.winner:
            reasons = "; ".join(f"{name}: {why}" for name, why in self._dropped.items())
            raise BackendError(f"nothing here computes {self._precision} on the CPU ({reasons})")
        outcome = replace(outcome, dropped=dict(self._dropped))
        if self._was_disturbed(outcome):
            LOG.info("%s: not remembered, as other processes used the cores", self._role)
        elif not is_forked():  # others of this machine may have more to choose from
            keep(replace(outcome, was_disturbed=False))
        return Chosen(runners[outcome.winner], self._line(outcome))

    def _was_disturbed(self, outcome: TrialOutcome) -> bool:
        """Tells whether another trial may find another winner. Threads that are more than the cores
        always wait.
        """
        has_choice = len(outcome.times_ms) > 1 and self._threads <= usable_cores()
        return has_choice and outcome.was_disturbed

    def _drop(self, reasons: Mapping[str, str]) -> None:
        for name, reason in reasons.items():
            LOG.info("%s: %s is not taken for %s: %s", self._role, name, self._precision, reason)
        self._dropped |= reasons

    def _line(self, outcome: TrialOutcome) -> str:
        times = ", ".join(f"{name} {ms:.1f}" for name, ms in outcome.times_ms.items())
        line = f"{self._role}: {outcome.winner} ({times} ms)"
        LOG.info("%s", line)
        return line


def _forget(outcome: TrialOutcome) -> None: ...


def _in_onnxruntime(bundle: Bundle, precision: str, threads: int) -> Runner:
    from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner

    precision = CPU_SETS.get(precision, precision)
    return OnnxRuntimeRunner(bundle, precision, threads, [bundle.image_role])


def _native(bundle: Bundle, precision: str, threads: int) -> Runner:
    from pcsr.runtime.cpu.convolutions import open_convolutions

    return open_convolutions(bundle, bundle.image_role, precision, threads)
