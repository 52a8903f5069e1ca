"""pcsr-train: trains, goes on, and refuses in one line."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pcsr.training.cli import main
from tests.training import tiny


def train(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_it_trains_and_names_the_result(tmp_path: Path) -> None:
    tiny.config(tmp_path)
    ended = train(tmp_path / "config.yaml", "-o", tmp_path / "run", "--seed", 3)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.strip() == str(tmp_path / "run" / "network.pth")
    assert (tmp_path / "run" / "network.pth").is_file()


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--set", "iter_mx=1"], 2, "unknown key 'iter_mx'"),
        (["--device", "cuda:7"], 3, "device 'cuda:7' is not there"),
        (["--set", "train_dataset.dataset.args.root_path=/nowhere"], 2, "cannot open /nowhere"),
        (["--set", "model.name=carn"], 2, "expected a PCSR model"),
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
