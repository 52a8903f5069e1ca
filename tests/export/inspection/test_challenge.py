"""pcsr-inspect --challenge: what is measured, how it is averaged, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from pcsr import images
from pcsr.export.inspection import contender, timing
from pcsr.export.inspection.challenge import Protocol, take_challenge
from pcsr.export.inspection.challenge_table import format_challenge
from pcsr.export.inspection.cli import main
from pcsr.export.inspection.contender import read_entry
from pcsr.export.inspection.counts import count_network
from pcsr.export.inspection.timing import ImageTime, Measured, PeakMemory, measure, peak_on_cpu
from pcsr.runtime.machine import peak_resident_mib, resident_mib
from pcsr.runtime.profiler.measuring.device import Lap
from pcsr.runtime.profiler.pictures import InputImage
from tests import checkpoints
from tests.commands import Ended, assert_clean, assert_refused

from .networks import liif_file, plain_file

CPU = torch.device("cpu")
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU"),
]


def run(*args: object) -> Ended:
    result = CliRunner().invoke(main, [*map(str, args)], catch_exceptions=False)
    return Ended(result.exit_code, result.stdout, result.stderr)


def picture(name: str, height: int, width: int) -> InputImage:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return InputImage(name, pixels)


@pytest.fixture
def plain_ckpt(tmp_path: Path) -> Path:
    return checkpoints.save(checkpoints.plain_checkpoint("fsrcnn"), tmp_path / "fsrcnn.pth")


@pytest.fixture
def lr_images(tmp_path: Path) -> Path:
    folder = tmp_path / "lr"
    folder.mkdir()
    for name, size in (("a.png", (12, 20)), ("b.png", (9, 7))):
        images.write(images.Picture(picture(name, *size).pixels), folder / name)
    return folder


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the process of its own."""
    monkeypatch.setattr(timing, "peak_on_cpu", lambda *_: PeakMemory(1.5, 100.0))


# Run time


class Counting:
    """Takes 1 ms for the first call, 2 ms for the second, and so on."""

    name = "a made clock"

    def __init__(self) -> None:
        self.calls = 0

    def lap(self, call: Callable[[], object], hold_ms: float) -> tuple[Lap, object]:
        assert hold_ms == 0, "the challenge does not hold the device"
        self.calls += 1
        return Lap(float(self.calls), 0.0), call()


def test_five_runs_of_each_image_after_the_warm_up(
    plain_ckpt: Path, without_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Counting()
    monkeypatch.setattr(timing, "make_clock", lambda device: clock)
    pictures = [picture("a", 6, 5), picture("b", 4, 7)]
    found = measure(read_entry(plain_ckpt), CPU, 1, pictures).run_time
    assert found.images == (
        ImageTime("a", (6, 5), 5.0, (3.0, 4.0, 5.0, 6.0, 7.0)),
        ImageTime("b", (4, 7), 12.0, (10.0, 11.0, 12.0, 13.0, 14.0)),
    )
    assert found.runs_ms == (6.5, 7.5, 8.5, 9.5, 10.5)
    assert (found.mean_ms, found.warm_ups, found.clock) == (8.5, 2, "a made clock")


def test_the_network_sees_the_image_and_answers_as_the_bundle(
    plain_bundle: Path, plain_ckpt: Path
) -> None:
    image = picture("a", 9, 14).pixels
    file = plain_bundle.parent / "network.pth"
    with contender.torch_settings(CPU, 1):
        network = contender.open_contender(read_entry(file), CPU, 1)
        answer: Any = network.prepare(image)()
    assert network.name == f"PyTorch {torch.__version__}"
    by_torch = (answer[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    runtime = contender.open_contender(read_entry(plain_bundle), CPU, 1)
    result: Any = runtime.prepare(image)()
    assert runtime.name.startswith("the runtime of pcsr, backend ")
    assert np.abs(result.image.astype(int) - by_torch).max() <= 1
    assert by_torch.max() > by_torch.min()
    assert not answer.requires_grad


def test_threads_of_pytorch_are_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    with pytest.raises(ValueError, match="within"), contender.torch_settings(CPU, 7):
        raise ValueError("within")
    assert told == [7, 3]


def test_a_collapsible_network_is_timed_in_its_deployed_form(tmp_path: Path) -> None:
    network = read_entry(plain_file("imdn", tmp_path, nb=1)).network
    assert network is not None
    names = [name for name, _ in network.named_parameters()]
    assert names
    assert not [name for name in names if "point" in name]


# Memory


def test_the_peak_of_a_run_on_the_cpu(tmp_path: Path) -> None:
    side, channels = 512, 56
    pictures = [picture("small", 8, 8), picture("large", side, side)]
    memory = peak_on_cpu(plain_file("fsrcnn", tmp_path), 1, pictures)
    if memory.mib is None or memory.held_before_mib is None:
        pytest.skip("this system does not say how much memory a process holds")
    features_mib = 4 * channels * side**2 / 2**20  # a convolution's result, and its PReLU's
    assert 2 * features_mib < memory.mib < 6 * features_mib
    assert memory.held_before_mib > 50, "Python and PyTorch are no part of the run"


def test_what_opening_took_is_forgotten() -> None:
    if not contender.PEAK.exists():
        pytest.skip("this system keeps no peak that could be forgotten")
    held = np.ones(2**24, np.float32)  # 64 MiB
    del held
    contender._forget_memory()
    now, peak = resident_mib(), peak_resident_mib()
    assert now is not None
    assert peak is not None
    assert peak - now < 32


def test_a_process_that_fails_is_one_line(
    plain_ckpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contender.open_alone, "__name__", "nothing")
    ended = run(plain_ckpt, "--challenge", "--threads", 1)
    assert_refused(ended, 3, "the peak memory cannot be measured: .*nothing")


# The report


def test_a_checkpoint(plain_ckpt: Path) -> None:
    ended = run(plain_ckpt, "--challenge", "--threads", 1, "--json", "-")
    assert ended.code == 0
    assert_clean(ended)
    found = json.loads(ended.stdout)
    network = read_entry(plain_ckpt).network
    assert network is not None
    assert found["counts"] == vars(count_network(network))
    assert (found["form"], found["architecture"], found["scale"]) == ("checkpoint", "fsrcnn", 4)
    measured = found["measured"]
    assert (measured["device"], measured["threads"]) == ("cpu", 1)
    times = measured["run_time"]
    assert times["clock"] == "wall clock"
    assert len(times["runs_ms"]) == 5
    assert 0 < min(times["runs_ms"]) <= times["mean_ms"] <= max(times["runs_ms"])
    assert [one["size"] for one in times["images"]] == [[256, 256]]
    assert measured["peak_memory"]["mib"] > 0


def test_the_table_of_a_checkpoint(plain_ckpt: Path, without_memory: None) -> None:
    found = take_challenge(plain_ckpt, Protocol(threads=1))
    assert found.counts is not None
    lines = format_challenge(found).splitlines()
    assert lines[0] == f"{plain_ckpt}: checkpoint of fsrcnn, x4"
    figures = {line.split()[0]: line.split()[1:] for line in lines[1:5]}
    assert figures["FLOPs"] == [f"{found.counts.flops / 1e9:.4f}", "G", "at", "256x256"]
    assert figures["convolutions"] == [str(found.counts.convolutions)]
    assert "peak memory   1.5" in lines[5]
    assert "beyond the 100 that the process held before" in lines[5]
    assert "per image, runs from" in lines[6]
    assert "without biases, counted once" in lines[8]
    assert "mean of 5 runs of one image of 256x256 after 2 untimed, by wall clock; " in lines[9]


def test_a_bundle_is_timed_and_not_counted(plain_bundle: Path, lr_images: Path) -> None:
    ended = run(plain_bundle, "--challenge", "--threads", 1, "--images", lr_images)
    assert ended.code == 0
    assert_clean(ended)
    assert "padded channels and folded BatchNorm: count its checkpoint" in ended.stdout
    assert "FLOPs   " not in ended.stdout
    assert "mean of 5 runs of 2 images after" in ended.stdout
    assert "the runtime of pcsr, backend" in ended.stdout


def test_images_are_named(plain_ckpt: Path, lr_images: Path, without_memory: None) -> None:
    found = take_challenge(plain_ckpt, Protocol(threads=1, images=lr_images))
    named = {one.name: one.size for one in found.measured.run_time.images}
    assert named == {"a.png": (12, 20), "b.png": (9, 7)}


def test_memory_that_nobody_knows_is_no_number(plain_ckpt: Path, without_memory: None) -> None:
    found = take_challenge(plain_ckpt, Protocol(threads=1))
    unknown = Measured(**vars(found.measured) | {"peak_memory": PeakMemory(None, None)})
    table = format_challenge(type(found)(**vars(found) | {"measured": unknown}))
    assert "not known" in table


# Refusals


def test_others_than_plain_networks_are_refused(
    pcsr_ckpt: Path, carn_like_bundle: Path, liif_bundle: Path, tmp_path: Path
) -> None:
    pcsr = "holds a PCSR network, and the challenge is for plain networks; .*pcsr-evaluate"
    assert_refused(run(pcsr_ckpt, "--challenge"), 2, pcsr)
    assert_refused(run(carn_like_bundle, "--challenge"), 2, pcsr)
    assert_refused(run(liif_file(tmp_path), "--challenge"), 2, "holds a LIIF network")
    assert_refused(run(liif_bundle, "--challenge"), 2, "holds a LIIF network")
    assert_refused(run(tmp_path, "--challenge"), 2, "is not a bundle")
    assert_refused(run(tmp_path / "nowhere.pth", "--challenge"), 2, "does not exist")


def test_options_that_do_not_fit_are_refused(plain_ckpt: Path, tmp_path: Path) -> None:
    assert_refused(run(plain_ckpt, "--device", "cpu"), 2, "--device .* add --challenge")
    assert_refused(run(plain_ckpt, "--threads", 2), 2, "--threads .* add --challenge")
    assert_refused(run(plain_ckpt, "--challenge", "--scale", 4), 2, "leave out --scale")
    assert_refused(run(plain_ckpt, "--challenge", "--device", "tpu"), 2, "unknown device 'tpu'")
    nowhere = tmp_path / "nowhere"
    assert_refused(run(plain_ckpt, "--challenge", "--images", nowhere), 2, "nowhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused(plain_ckpt: Path, plain_bundle: Path) -> None:
    for path in (plain_ckpt, plain_bundle):
        ended = run(path, "--challenge", "--device", "cuda:0")
        assert_refused(ended, 3, "device 'cuda:0' is not there")


def on_gpu(test: Callable[..., None]) -> Callable[..., None]:
    for mark in ON_GPU:
        test = mark(test)
    return test


@on_gpu
def test_a_checkpoint_on_a_gpu(tmp_path: Path) -> None:
    side, channels = 512, 56
    path = plain_file("fsrcnn", tmp_path)
    found = measure(read_entry(path), torch.device("cuda", 0), 1, [picture("a", side, side)])
    assert found.run_time.clock == "CUDA events"
    assert found.run_time.mean_ms > 0
    memory = found.peak_memory
    assert memory.mib is not None
    assert memory.mib > 2 * 4 * channels * side**2 / 2**20
    assert memory.held_before_mib is not None
    assert 0 < memory.held_before_mib < 1, "the weights"


@on_gpu
def test_a_bundle_on_a_gpu(plain_bundle: Path) -> None:
    found = measure(read_entry(plain_bundle), torch.device("cuda", 0), 1, [picture("a", 40, 56)])
    assert found.by == "the runtime of pcsr, backend torch"
    assert found.run_time.clock == "CUDA events"
    assert found.run_time.mean_ms > 0
