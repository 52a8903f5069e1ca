"""The choice at opening, with candidates that the tests make: the fastest that is right is taken
and remembered; those that fail are dropped with their reason.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import BackendError, Bundle, BundleError, Upscaler
from pcsr.runtime.cpu.candidates import choice, trial
from pcsr.runtime.cpu.candidates.choice import (
    NATIVE,
    OPENVINO,
    ORT,
    candidates_of,
    choose_runner,
)
from pcsr.runtime.cpu.candidates.trial import Bound, Open, Probe, probe_size, synthetic_image
from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner
from pcsr.runtime.cpu.pipeline import FloatArray
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.trials import memory
from tests.runtime.cpu.bf16 import ENGINES, has_bf16, has_openvino

Candidates = Callable[..., None]


@dataclass
class Fake:
    """Computes as ONNX Runtime does, changes the result, and counts as taking so long."""

    inner: OnnxRuntimeRunner
    time_s: float = 0.0
    change: Callable[[FloatArray], FloatArray] = np.copy
    runs: int = 0

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        self.runs += 1
        return [self.change(found) for found in self.inner.run_image(role, image, outputs)]

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        raise NotImplementedError


@pytest.fixture
def bundle(carn_like_bundle: Path) -> Bundle:
    return Bundle.load(carn_like_bundle)


@pytest.fixture
def inner(bundle: Bundle) -> OnnxRuntimeRunner:
    return OnnxRuntimeRunner(bundle, "fp32", 1, ["backbone"])


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor with bf16 that nobody else uses, and nothing remembered."""
    monkeypatch.setattr(choice, "bf16_instructions", lambda: ["avx512_bf16"])
    monkeypatch.setattr(trial, "waited_s", lambda: 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> Candidates:
    """Sets what there is to choose from; an error is raised when it is opened."""

    def set_candidates(**given: Fake | Exception) -> None:
        def opener(one: Fake | Exception) -> Open:
            def open_it() -> Fake:
                if isinstance(one, Exception):
                    raise one
                return one

            return open_it

        def candidates_of(*_: object) -> Mapping[str, Open]:
            return {name: opener(one) for name, one in given.items()}

        def time_ms(runner: Fake, probe: Probe) -> float:
            probe.run(runner)
            return 1e3 * runner.time_s

        monkeypatch.setattr(choice, "candidates_of", candidates_of)
        monkeypatch.setattr(trial, "_time_ms", time_ms)

    return set_candidates


def test_the_fastest_is_taken_and_remembered(
    bundle: Bundle, inner: OnnxRuntimeRunner, candidates: Candidates
) -> None:
    slow, fast = Fake(inner, 0.03), Fake(inner, 0.001)
    candidates(slow=slow, fast=fast)
    chosen = choose_runner(bundle, "bf16", 1)
    assert chosen.runner is fast
    assert chosen.line == "backbone: fast (slow 30.0, fast 1.0 ms)"
    runs = slow.runs, fast.runs
    again = choose_runner(bundle, "bf16", 1)
    assert (again.runner, again.line) == (fast, chosen.line)
    assert (slow.runs, fast.runs) == runs


@pytest.mark.parametrize(("time_s", "winner"), [(0.0109, NATIVE), (0.0111, "other")])
def test_own_convolutions_are_taken_where_they_are_about_as_fast(
    time_s: float, winner: str, bundle: Bundle, inner: OnnxRuntimeRunner, candidates: Candidates
) -> None:
    candidates(**{"other": Fake(inner, 0.01), NATIVE: Fake(inner, time_s)})
    assert choose_runner(bundle, "bf16", 1).line.startswith(f"backbone: {winner} (")


@pytest.mark.parametrize(
    ("cores", "share", "is_kept"), [(2, 0.5, False), (2, 0.05, True), (1, 0.5, True)]
)
def test_what_was_found_on_a_busy_machine_is_not_remembered(
    cores: int,
    share: float,
    is_kept: bool,
    bundle: Bundle,
    inner: OnnxRuntimeRunner,
    candidates: Candidates,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: cores)
    monkeypatch.setattr(trial, "waited_s", lambda: share * time.perf_counter())
    candidates(slow=Fake(inner, 0.03), fast=(fast := Fake(inner, 0.001)))
    with caplog.at_level(logging.INFO, "pcsr.upscaler"):
        assert choose_runner(bundle, "bf16", 2).runner is fast
    said = "backbone: not remembered, as other processes used the cores"
    assert (said not in caplog.messages) == is_kept
    assert len(memory.all_remembered()) == is_kept


@pytest.mark.parametrize("other", [(2, "bf16"), (1, "int8")])
def test_other_threads_and_precisions_are_tried_anew(
    other: tuple[int, str],
    bundle: Bundle,
    inner: OnnxRuntimeRunner,
    candidates: Candidates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "CPU_SETS", {})
    candidates(only=Fake(inner))
    choose_runner(bundle, "bf16", 1)
    candidates(only=(again := Fake(inner)))
    choose_runner(bundle, other[1], other[0])
    assert again.runs > 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found * 1.2, "wrong by 0.2 in the mean, 0.2 at most"),
        (lambda found: found[:, :, 1:], r"float32 \[1, 8, 1..., 2..\] in place of"),
        (lambda found: found.astype(np.float16), "float16"),
        (lambda found: np.full_like(found, np.nan), "wrong by nan"),
    ],
)
def test_one_that_is_wrong_is_dropped(
    change: Callable[[FloatArray], FloatArray],
    reason: str,
    bundle: Bundle,
    inner: OnnxRuntimeRunner,
    candidates: Candidates,
    caplog: pytest.LogCaptureFixture,
) -> None:
    candidates(wrong=Fake(inner, change=change), right=(right := Fake(inner, 0.01)))
    with caplog.at_level(logging.INFO, "pcsr.upscaler"):
        assert choose_runner(bundle, "bf16", 1).runner is right
    (line,) = [text for text in caplog.messages if "is not taken" in text]
    assert line.startswith("backbone: wrong is not taken for bf16: ")
    assert reason.split("[")[0].rstrip("\\ ") in line


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["carn", "fsrcnn"])
def test_rounding_of_trained_networks_is_well_within_the_bound(
    model: str, engine: str, published_bundles: dict[str, Bundle]
) -> None:
    """That of FSRCNN is three times that of CARN."""
    bundle = published_bundles[model]
    probe = Probe.of(bundle, OnnxRuntimeRunner(bundle, "fp32", 1, ["backbone"]), "bf16")
    narrower = Bound(0.7 * probe.bound.mean, 0.7 * probe.bound.largest)
    runner = candidates_of(bundle, "bf16", 1)[engine]()
    assert not replace(probe, bound=narrower).difference(probe.run(runner))


def test_one_that_fails_is_dropped(
    bundle: Bundle, inner: OnnxRuntimeRunner, candidates: Candidates
) -> None:
    def fail(_found: FloatArray) -> FloatArray:
        raise MemoryError("no room\nmore")

    right = Fake(inner, 0.01)
    candidates(closed=OSError("it does not open"), full=Fake(inner, change=fail), right=right)
    assert choose_runner(bundle, "bf16", 1).runner is right
    ((_, outcome),) = memory.all_remembered()
    assert outcome.dropped == {"closed": "it does not open", "full": "no room"}


def test_none_left_names_each_reason(
    bundle: Bundle, inner: OnnxRuntimeRunner, candidates: Candidates
) -> None:
    wrong = Fake(inner, change=lambda found: -found)
    candidates(first=BackendError("not installed"), second=wrong)
    with pytest.raises(BackendError, match=r"\(first: not installed; second: wrong"):
        choose_runner(bundle, "bf16", 1)
    assert memory.all_remembered() == []


def test_a_winner_that_does_not_open_any_more_is_tried_against_nobody(
    bundle: Bundle, inner: OnnxRuntimeRunner, candidates: Candidates
) -> None:
    candidates(best=Fake(inner), next=Fake(inner, 0.01))
    choose_runner(bundle, "bf16", 1)
    candidates(best=BackendError("gone"), next=(left := Fake(inner, 0.01)))
    assert choose_runner(bundle, "bf16", 1).runner is left
    candidates(best=(best := Fake(inner)), next=left)
    assert choose_runner(bundle, "bf16", 1).runner is best


def test_a_graph_that_gives_nan_is_the_bundles_fault(
    bundle: Bundle,
    inner: OnnxRuntimeRunner,
    candidates: Candidates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candidates(only=Fake(inner))
    broken = Fake(inner, change=lambda found: found * np.float32(np.nan))
    monkeypatch.setattr(choice, "_in_onnxruntime", lambda *_: broken)
    with pytest.raises(BundleError, match="the backbone gives NaN or infinite values"):
        choose_runner(bundle, "bf16", 1)


def test_onnx_runtime_alone_needs_no_trial(
    bundle: Bundle,
    inner: OnnxRuntimeRunner,
    candidates: Candidates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "CPU_SETS", {})
    candidates(**{ORT: (only := Fake(inner)), NATIVE: BackendError("Pow")})
    chosen = choose_runner(bundle, "int8", 1)
    assert (chosen.runner, chosen.line, only.runs) == (only, "backbone: ONNX Runtime", 0)
    assert memory.all_remembered() == []


def test_a_damaged_graph_is_the_bundles_fault(
    tmp_path: Path, carn_passed: Path, inner: OnnxRuntimeRunner, candidates: Candidates
) -> None:
    candidates(only=Fake(inner))
    (carn_passed / "fp32" / "backbone.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="is damaged"):
        choose_runner(Bundle.load(carn_passed), "bf16", 1)


def test_what_there_is_to_choose_from(bundle: Bundle) -> None:
    assert [*choice.candidates_of(bundle, "bf16", 1)] == [NATIVE, OPENVINO]
    assert [*choice.candidates_of(bundle, "int8", 1)] == [ORT, NATIVE]


def test_a_processor_without_bf16(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "bf16_instructions", list)
    with pytest.raises(BackendError, match="has no instructions for bf16") as refused:
        choose_runner(bundle, "bf16", 1)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("macs", "size"), [(1e4, (192, 292)), (4e5, (64, 97)), (1e7, (48, 73)), (0.0, (192, 292))]
)
def test_the_image_of_a_trial(macs: float, size: tuple[int, int]) -> None:
    assert probe_size(macs) == size
    image = synthetic_image(size)
    assert image.shape == (1, 3, *size)
    assert image.dtype == np.float32
    assert 0 <= image.min() < 0.2 < 0.8 < image.max() <= 1


@has_openvino
def test_parts_that_would_not_be_exact_are_refused(plain_passed: Path) -> None:
    upscaler = Upscaler(plain_passed, precision="bf16", threads=1)  # it has a deconvolution
    assert OPENVINO in upscaler.choices[0]
    with pytest.raises(BackendError, match="parts would not be exact"), upscaler.parts():
        pass


@has_bf16
@has_openvino
@pytest.mark.parametrize("name", ["carn_passed", "plain_passed"])
def test_an_upscaler_in_bf16(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    image = np.random.default_rng(0).integers(0, 256, (23, 31, 3), np.uint8)
    with Upscaler(path, precision="bf16", threads=1) as upscaler, Upscaler(path) as exact:
        assert (upscaler.backend, upscaler.precision) == ("native", "bf16")
        assert upscaler.passes == exact.passes.replace("graphs", "native")
        (line,) = upscaler.choices
        role = upscaler.bundle.image_role
        assert line.startswith((f"{role}: {OPENVINO} (", f"{role}: {NATIVE} ("))
        found, expected = upscaler(image).image, exact(image).image
        gap = np.abs(found.astype(float) - expected)
        assert 0 < gap.mean() < 1
        assert exact.choices == ()
