"""pcsr-train: trains, goes on, and refuses in one line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from pcsr.training.cli import main
from tests.training import tiny

ROOT = Path(__file__).parents[2]


def train(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_it_trains_and_names_the_result(tmp_path: Path) -> None:
    tiny.config(tmp_path)
    ended = train(tmp_path / "config.yaml", "-o", tmp_path / "run", "--set", "seed=3")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.strip() == str(tmp_path / "run" / "network.pth")
    assert (tmp_path / "run" / "network.pth").is_file()


def test_stopped_at_any_moment_it_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """SIGKILL in one stage, as a lost machine would; SIGTERM in the other, as a background job."""
    tiny.config(tmp_path)
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    sizes = ["--set", "iter_max=[60,200]", "--set", "iter_save=7"]
    # Processes of their own: sums depend on how many threads PyTorch was told to use before.
    program = [sys.executable, "-m", "pcsr.training.cli", str(config), *sizes, "-o"]
    command = [*program, str(run)]
    subprocess.run([*program, str(tmp_path / "unbroken")], check=True, capture_output=True)
    assert _stopped(command, signal.SIGKILL, run / "stage-0.pth") == -signal.SIGKILL
    assert _stopped(command, signal.SIGTERM, run / "stage-1.pth") == 130
    assert not (run / "network.pth").exists()
    subprocess.run(command, check=True, capture_output=True)
    first, second = (
        torch.load(folder / "network.pth", weights_only=True)["model"]["sd"]
        for folder in (tmp_path / "unbroken", run)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def _stopped(command: list[str], how: signal.Signals, once: Path) -> int:
    """The exit status of a process that is sent a signal once a file is there."""
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as shells do behind &
    )
    deadline = time.monotonic() + 100
    while not once.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(how)
    return process.wait(timeout=60)


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--set", "iter_mx=1"], 2, "unknown key 'iter_mx'"),
        (["--device", "cuda:7"], 3, "device 'cuda:7' is not there"),
        (["--set", "train_dataset.dataset.args.root_path=/nowhere"], 2, "cannot open /nowhere"),
        (["--set", "model.name=carn"], 2, "'carn' cannot be built"),
        (["--teacher", "/nowhere.pth"], 2, "/nowhere.pth does not exist"),
        (["--images", "/nowhere"], 2, "cannot open /nowhere"),
        (["--set", "model.name=pcsr-phase7"], 2, "unknown format 'pcsr-phase7'"),
    ],
)
def test_refusals(extra: list[str], code: int, message: str, tmp_path: Path) -> None:
    tiny.config(tmp_path)
    ended = train(tmp_path / "config.yaml", "-o", tmp_path / "run", *extra)
    assert ended.exit_code == code
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_a_file_is_left_alone(tmp_path: Path) -> None:
    tiny.config(tmp_path)
    (tmp_path / "run").write_text("mine")
    ended = train(tmp_path / "config.yaml", "-o", tmp_path / "run")
    assert ended.exit_code == 1
    expected = "is a file, expected a folder for the results; choose another name"
    assert ended.stderr == f"error: {tmp_path / 'run'} {expected}\n"
    assert (tmp_path / "run").read_text() == "mine"
