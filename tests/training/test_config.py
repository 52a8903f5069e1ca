"""Configs: published keys, defaults, overrides, and what is refused."""

from pathlib import Path

import pytest

from pcsr import UsageError
from pcsr.training.config import load_config
from tests.training import tiny

SHIPPED = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml"))


def test_published_weights_are_the_defaults(tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    assert (config.reconstruction_weight, config.average_weight) == (1000, 3)
    assert config.betas == (0.9, 0.99)
    assert config.least_learning_rate == 1e-7
    assert config.data.augment == ("hflip", "vflip", "dflip")


def test_overrides_replace_nested_keys(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "train_dataset.batch_size=5", "data_norm.mean=[0.1,0.2,0.3]")
    assert config.data.batch == 5
    assert config.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("iter_mx=5", "unknown key 'iter_mx'"),
        ("train_dataset.batchsize=5", r"unknown key 'train_dataset\.batchsize'"),
        ("seed", "expects key=value"),
        ("train_dataset=5", "train_dataset must hold keys"),
        ("iter_max=0", "iter_max must be positive"),
        ("optimizer.args.betas=[1]", "wrong form"),
        ("train_dataset.wrapper.args.augment=[spin]", "unknown augment spin"),
        ("train_dataset.dataset.args.root_path=''", "root_path is not set"),
    ],
)
def test_nonsense_is_named(override: str, message: str, tmp_path: Path) -> None:
    tiny.config(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_config(tmp_path / "config.yaml", [override])


@pytest.mark.parametrize("text", ["- a list", "a: [", "just text"])
def test_files_that_are_no_config(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config .*config\.yaml"):
        load_config(file)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_load(path: Path) -> None:
    assert load_config(path).model["name"].startswith("pcsr")
