"""What is decided before the rounds, and the figures of a record."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench import parse_size
from benchmarks.callers import Files, Place, open_caller
from benchmarks.contenders import SINGLE_FILE, Contender, Implementation, cpu_line_up
from benchmarks.cpu.figures import compare, memory_figures, time_figures, work
from benchmarks.cpu.group import make_care, try_first_use
from benchmarks.cpu.rounds import Care
from benchmarks.image import sample_image
from benchmarks.series import ContenderSeries, k_of_difficulty
from pcsr import UsageError
from pcsr.manifest import Costs
from pcsr.runtime.profiler.measuring.calls import Measurement
from pcsr.runtime.profiler.measuring.first_use import FirstUse
from pcsr.runtime.profiler.measuring.process import DidNotFinish

from .made import contender

SESSION = Implementation("plain-session")
IN_OPENVINO = Implementation("plain-openvino", precision="fp32")
PLAIN = Contender("plain-ort", SESSION)
OURS = Contender("pcsr-k0", Implementation("pcsr", "auto"))
NO_FILES = Files("none", "none", "none", "none")
IMAGE = np.zeros((8, 8, 3), np.uint8)


def test_a_long_first_call_makes_a_contender_slow() -> None:
    firsts = {"plain-ort": FirstUse(59_000, 1, 2), "pcsr-k0": FirstUse(61_000, 1, 2)}
    assert make_care([PLAIN, OURS], firsts, 60, None) == Care(["pcsr-k0"], [])


def test_the_plain_session_is_released_where_not_all_fit() -> None:
    firsts = {"plain-ort": FirstUse(1, peak_mib=700), "pcsr-k0": FirstUse(1, peak_mib=200)}
    assert make_care([PLAIN, OURS], firsts, 60, 1000).released == ["plain-session"]
    assert make_care([PLAIN, OURS], firsts, 60, 1200).released == []


def test_every_mode_has_its_rival_and_random_weights_have_one_mode() -> None:
    trained = {c.name: c for c in cpu_line_up(eager=True)}
    assert len(trained) == 12
    assert {c.published for c in trained.values()} == {"", "eager-k0", "eager-adm"}
    random = {c.name: c for c in cpu_line_up(eager=True, k_of_share=0.7)}
    assert random["pcsr-heavy20"].published == "eager-heavy20"
    assert random["eager-heavy20"].options == {"k": 0.7}
    assert not {"pcsr-k0", "pcsr-adm", "eager-k0"} & set(random)
    without = {c.implementation.family for c in cpu_line_up(eager=False)}
    assert without == {"pcsr", *SINGLE_FILE, "plain-session", "bicubic"}


def test_fewer_bits_are_compared_with_rivals_of_fewer_bits() -> None:
    precisions = ("fp32", "bf16", "int8")
    everyone = cpu_line_up(True, None, precisions, ("openvino", "span"))
    assert len({c.name for c in everyone}) == len(everyone)
    assert len({c.label for c in everyone}) == len(everyone)
    of = {p: {c.name for c in everyone if c.implementation.precision == p} for p in precisions}
    rivals = ("plain-openvino", "span-openvino")
    assert of["fp32"] == {f"{name}-fp32" for name in rivals}
    ours = ("pcsr-k0", "pcsr-adm", "pcsr-heavy20", "pcsr-heavy")
    assert of["bf16"] == {f"{name}-bf16" for name in (*ours, *rivals)}
    assert of["int8"] == {f"{name}-int8" for name in ours}
    random = cpu_line_up(True, 0.7, precisions)
    in_int8 = {c.name for c in random if c.implementation.precision == "int8"}
    assert in_int8 == {"pcsr-heavy20-int8", "pcsr-heavy-int8"}


def test_k_of_a_difficulty_cuts_there() -> None:
    assert k_of_difficulty(0.5, 0.8, 0.2) == 0
    assert k_of_difficulty(0.8, 0.8, 0.2) == pytest.approx(1)  # logit = ln 4 = ln(0.8 / 0.2)
    assert k_of_difficulty(None, 0.8, 0.2) == k_of_difficulty(1.0, 0.8, 0.2) == 0


def test_ratios_are_to_the_plain_network_and_to_the_rival() -> None:
    times = {"a": 6.0, "plain-ort": 3.0, "published": 24.0}
    series = {name: ContenderSeries({0: Measurement(time)}) for name, time in times.items()}
    ours = replace(contender("a", rival="published"), plain="plain-ort")
    figures = time_figures(ours, series, Care())
    assert figures["time_over_plain"] == 2
    assert figures["time_over_published"] == 0.25
    assert figures["in_rounds"] == [1]
    assert time_figures(contender("b"), series, Care())["median_ms"] is None


def test_median_and_percentiles() -> None:
    rounds = {number: Measurement(ms) for number, ms in enumerate([30.0, 10, 20, 50, 40])}
    figures = time_figures(contender("a"), {"a": ContenderSeries(rounds)}, Care())
    spread = (figures["median_ms"], figures["p10_ms"], figures["p90_ms"])
    assert spread == pytest.approx((30, 14, 46))


def test_the_published_form_executes_what_the_paper_counts() -> None:
    costs = Costs(256 * 100, 10, (40, 8), 50.0, 3, (15, 2))
    counts = (4, 60)  # of 8x8 pixels, made from 2x2
    flops = 4 * 100 + 64 * 10 + 4 * 40 + 60 * 8
    assert work(costs, Implementation("published"), (2, 2), counts) == (
        flops / 2 / 1e9,
        flops / 1e9,
    )
    assert (
        work(costs, OURS.implementation, (2, 2), counts)[0]
        == costs.macs((2, 2), (8, 8), counts) / 1e9
    )


def test_a_failure_becomes_the_row_s_error() -> None:
    why = try_first_use(OURS, NO_FILES, 1, IMAGE)
    assert isinstance(why, DidNotFinish)
    figures = memory_figures(why, ContenderSeries())
    assert figures["peak_mib"] is None
    assert "BundleError: none is not a bundle" in figures["error"]


def test_memory_is_that_of_the_process_alone(plain_bundle: Path) -> None:
    held = np.ones((1024, 1024, 64), np.float32)  # 256 MiB here, which are not the child's
    files = replace(NO_FILES, plain_bundle=str(plain_bundle))
    found = try_first_use(PLAIN, files, 1, IMAGE)
    assert isinstance(found, FirstUse)
    if found.loaded_mib is None or found.peak_mib is None:
        pytest.skip("this system does not say how much memory a process holds")
    assert 10 < found.loaded_mib <= found.peak_mib < held.nbytes / 2**20


def test_plain_networks_make_the_same_image(pcsr_ckpt: Path, plain_bundle: Path) -> None:
    ckpt = plain_bundle.with_name("network.pth")
    files = Files("none", str(plain_bundle), str(pcsr_ckpt), str(ckpt))
    image = sample_image((12, 17))
    implementations = (SESSION, Implementation("plain-eager"), IN_OPENVINO)
    place = Place(threads=1)
    images = [open_caller(one, files, place)(image, {}).image for one in implementations]
    assert images[0].shape == (48, 68, 3)
    assert images[0].dtype == np.uint8
    for other in images[1:]:
        assert compare(images[0], other, "other")["is_faithful"]


def test_differences_of_two_images() -> None:
    image = np.full((100, 100, 3), 7, np.uint8)
    assert compare(image, image, "r")["psnr_db"] is None
    other = image.copy()
    other[0, :10, 1] = 5  # 10 of 10,000 pixels: the tolerance
    found = compare(image, other, "r")
    assert (found["max_levels"], found["share_off"], found["is_faithful"]) == (2, 1e-3, True)
    assert found["psnr_db"] == pytest.approx(10 * math.log10(255**2 / (40 / 30_000)))
    other[1, 0, 0] = 9
    assert not compare(image, other, "r")["is_faithful"]


def test_sizes() -> None:
    assert parse_size("4K") == (2160, 3840)
    assert parse_size("32x24") == (24, 32)
    for wrong in ("5k", "25x32", "0x4", "24x32x3"):
        with pytest.raises(UsageError, match="multiples of 4"):
            parse_size(wrong)


def test_the_sample_image_is_always_the_same() -> None:
    small, large = sample_image((160, 240)), sample_image((320, 480))
    assert small.shape == (160, 240, 3)
    np.testing.assert_array_equal(small, large[:160, :240])
    assert not np.array_equal(large[:150, :225], large[150:300, :225])
