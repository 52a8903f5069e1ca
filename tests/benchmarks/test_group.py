"""What is decided before the rounds, and the figures of a record."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.alone import Footprint, Job
from benchmarks.engines import Files, make_engine
from benchmarks.fidelity import compare
from benchmarks.figures import memory_figures, time_figures, work
from benchmarks.group import Settings, k_of_difficulty, make_plan
from benchmarks.lineup import Contender, line_up
from benchmarks.memory import DidNotFinish, footprint, read_answer
from benchmarks.photo import sample_image
from benchmarks.rounds import Plan, Timing
from benchmarks.sizes import parse_size
from pcsr import UsageError
from pcsr.manifest import Costs

from .made import contender

SETTINGS = Settings(rounds=5, threads=1, max_seconds=60, eager=True)
PLAIN = Contender("plain-ort", "plain", "plain-ort")
OURS = Contender("pcsr-k0", "pcsr", "pcsr")
NO_FILES = Files("none", "none", "none", "none")


def test_a_long_first_call_makes_a_contender_slow() -> None:
    feet = {"plain-ort": Footprint(1, 2, 59_000), "pcsr-k0": Footprint(1, 2, 61_000)}
    assert make_plan([PLAIN, OURS], feet, SETTINGS, None) == Plan(5, ["pcsr-k0"], [])


def test_the_plain_session_is_released_where_not_all_fit() -> None:
    feet = {"plain-ort": Footprint(1, 700, 1), "pcsr-k0": Footprint(1, 200, 1)}
    assert make_plan([PLAIN, OURS], feet, SETTINGS, 1000).released == ["plain-ort"]
    assert make_plan([PLAIN, OURS], feet, SETTINGS, 1200).released == []


def test_every_mode_has_its_rival_and_random_weights_have_one_mode() -> None:
    trained = {c.name: c for c in line_up(eager=True)}
    assert len(trained) == 10
    assert {c.rival for c in trained.values()} == {None, "eager-k0", "eager-adm"}
    random = {c.name: c for c in line_up(eager=True, k_of_share=0.7)}
    assert random["pcsr-heavy20"].rival == "eager-heavy20"
    assert random["eager-heavy20"].options == {"k": 0.7}
    assert not {"pcsr-k0", "pcsr-adm", "eager-k0"} & set(random)
    assert not [c for c in line_up(eager=False) if "eager" in c.engine]


def test_k_of_a_difficulty_cuts_there() -> None:
    assert k_of_difficulty(0.5, 0.8, 0.2) == 0
    assert k_of_difficulty(0.8, 0.8, 0.2) == pytest.approx(1)  # logit = ln 4 = ln(0.8 / 0.2)
    assert k_of_difficulty(None, 0.8, 0.2) == k_of_difficulty(1.0, 0.8, 0.2) == 0


def test_ratios_are_to_the_plain_network_and_to_the_rival() -> None:
    times = {"a": 6.0, "plain-ort": 3.0, "published": 24.0}
    timings = {name: Timing({1: time}) for name, time in times.items()}
    figures = time_figures(contender("a", rival="published"), timings, Plan(1))
    assert figures["time_over_plain"] == 2
    assert figures["time_over_published"] == 0.25
    assert time_figures(contender("b"), timings, Plan(1))["median_ms"] is None


def test_the_published_form_executes_what_the_paper_counts() -> None:
    costs = Costs(256 * 100, 10, (40, 8), 50.0, 3, (15, 2))
    counts = (4, 60)  # of 8x8 pixels, made from 2x2
    flops = 4 * 100 + 64 * 10 + 4 * 40 + 60 * 8
    assert work(costs, "eager", (2, 2), counts) == (flops / 2 / 1e9, flops / 1e9)
    assert work(costs, "pcsr", (2, 2), counts)[0] == costs.macs((2, 2), (8, 8), counts) / 1e9


def test_a_failure_becomes_the_row_s_error() -> None:
    job = Job("pcsr", {}, NO_FILES, "none.npy", 1)
    with pytest.raises(DidNotFinish, match="FileNotFoundError") as no_image:
        footprint(job)
    assert memory_figures(no_image.value, Timing())["peak_mib"] is None
    assert "none.npy" in memory_figures(no_image.value, Timing())["error"]


def test_an_engine_that_raises_and_a_process_that_is_killed(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((2, 2, 3), np.uint8))
    job = Job("pcsr", {}, NO_FILES, str(tmp_path / "image.npy"), 1)
    with pytest.raises(DidNotFinish, match="BundleError: none is not a bundle"):
        footprint(job)
    with pytest.raises(DidNotFinish, match="memory ran out"):
        read_answer(-9, "", "")
    with pytest.raises(DidNotFinish, match="exit status 1: ImportError: no"):
        read_answer(1, "", "Traceback\nImportError: no\n")
    with pytest.raises(DidNotFinish, match="takes more than"):
        footprint(job, timeout_s=0.01)


def test_memory_is_that_of_the_process_alone(tmp_path: Path, plain_bundle: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((8, 8, 3), np.uint8))
    held = np.ones((1024, 1024, 64), np.float32)  # 256 MiB here, which are not the child's
    files = replace(NO_FILES, plain_bundle=str(plain_bundle))
    found = footprint(Job("plain-ort", {}, files, str(tmp_path / "image.npy"), 1))
    if found.loaded_mib is None or found.peak_mib is None:
        pytest.skip("this system does not say how much memory a process holds")
    assert 10 < found.loaded_mib <= found.peak_mib < held.nbytes / 2**20


def test_plain_engines_make_the_same_image(pcsr_ckpt: Path, plain_bundle: Path) -> None:
    ckpt = plain_bundle.with_name("network.pth")
    files = Files("none", str(plain_bundle), str(pcsr_ckpt), str(ckpt))
    image = sample_image((12, 17))
    images = [make_engine(name, files, 1)(image, {}).image for name in ("plain-ort", "plain-eager")]
    assert images[0].shape == (48, 68, 3)
    assert images[0].dtype == np.uint8
    assert compare(images[0], images[1], "plain-eager").is_faithful


def test_differences_of_two_images() -> None:
    image = np.full((100, 100, 3), 7, np.uint8)
    assert compare(image, image, "r").psnr_db is None
    other = image.copy()
    other[0, :10, 1] = 5  # 10 of 10,000 pixels: the tolerance
    found = compare(image, other, "r")
    assert (found.max_levels, found.share_off, found.is_faithful) == (2, 1e-3, True)
    assert found.psnr_db == pytest.approx(10 * math.log10(255**2 / (40 / 30_000)))
    other[1, 0, 0] = 9
    assert not compare(image, other, "r").is_faithful


def test_sizes() -> None:
    assert parse_size("4K") == (2160, 3840)
    assert parse_size("24x32") == (24, 32)
    for wrong in ("5k", "25x32", "0x4", "24x32x3"):
        with pytest.raises(UsageError, match="multiples of 4"):
            parse_size(wrong)


def test_the_sample_image_is_always_the_same() -> None:
    small, large = sample_image((160, 240)), sample_image((320, 480))
    assert small.shape == (160, 240, 3)
    np.testing.assert_array_equal(small, large[:160, :240])
    assert not np.array_equal(large[:150, :225], large[150:300, :225])
