"""The weights of a file are found whatever wraps them and their names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pcsr.errors import CheckpointError
from pcsr.models.checkpoint import read_checkpoint
from tests.checkpoints import Data, save, tiny
from tests.models.recognition.networks import CASES, Case, State
from tests.models.recognition.test_recognition import assert_is, loaded

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "generator")
OTHERS = ("state", "run", "best", "0")
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]}
BESIDE = {"epoch": 3, "optimizer": OPTIMIZER, "loss": torch.zeros(()), "args": {"lr": [1, 2]}}
EDSR = CASES["basicsr edsr x2"]()
LIIF = CASES["liif"]()
examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
prefixes = st.lists(st.sampled_from(["module", "_orig_mod"]), max_size=3)


def wrapped(value: Any, keys: list[str], beside: Data) -> Any:  # noqa: ANN401
    for key in keys:
        value = {**beside, key: value}
    return value


@st.composite
def renamed(draw: st.DrawFn, state: State) -> State:
    """Puts the parts of wrappers anywhere into the names, and counters among them."""
    heads = {name.rpartition(".")[0] for name in state}
    parts = {part for head in heads for part in head.split(".")}
    within = {part: draw(prefixes) for part in sorted(parts)}
    before = draw(prefixes)
    result = {}
    for name, weight in state.items():
        head, _, last = name.rpartition(".")
        inner = [piece for part in head.split(".") for piece in (part, *within[part])]
        result[".".join((*before, *inner, last))] = weight
    if draw(st.booleans()):
        result |= {"total_ops": torch.zeros(1), "body.total_params": torch.zeros(1)}
    return result


@examples
@given(data=st.data(), keys=st.lists(st.sampled_from(WRAPPERS + OTHERS), max_size=4))
@pytest.mark.parametrize("case", [EDSR, LIIF], ids=["edsr", "liif"])
def test_weights_in_any_nesting(
    case: Case, data: st.DataObject, keys: list[str], tmp_path: Path
) -> None:
    state = data.draw(renamed(case.saved))
    path = save(wrapped(state, keys, BESIDE if keys else {}), tmp_path / "network.pth")
    assert_is(loaded(path), case)


@examples
@given(data=st.data(), keys=st.lists(st.sampled_from(WRAPPERS + OTHERS), max_size=4))
def test_a_description_in_any_nesting(data: st.DataObject, keys: list[str], tmp_path: Path) -> None:
    content = tiny("fsrcnn")
    sd = content["model"]["sd"]
    content["model"]["sd"] = data.draw(renamed(sd))
    content["scale"] = 3
    path = save(wrapped(content, keys, BESIDE), tmp_path / "network.pth")
    assert read_checkpoint(path).training == {"scale": 3}
    state = loaded(path).state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in sd.items())


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    other = {name: weight + 1 for name, weight in EDSR.saved.items()}
    for content in (
        {"params": other, "params_ema": EDSR.saved},
        {"params_ema": EDSR.saved, "params": other},
        {
            "state_dict": {
                f"{n}.{k}": w
                for n, s in (("generator", other), ("generator_ema", EDSR.saved))
                for k, w in s.items()
            }
        },
        {"net_d": other, "net_g": EDSR.saved},
    ):
        assert_is(loaded(save(content, tmp_path / "network.pth")), EDSR)


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "generator.", "model.net_g.", "module.model."]
)
def test_prefixes_of_lightning(prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{name}": weight for name, weight in EDSR.saved.items()}
    state |= {"loss_fn.vgg.0.weight": torch.ones(3), "discriminator.0.bias": torch.ones(3)}
    content = {"pytorch-lightning_version": "2.4", "state_dict": state, "epoch": 1}
    assert_is(loaded(save(content, tmp_path / "network.ckpt")), EDSR)


def test_the_only_weights_under_a_name_of_ones_own(tmp_path: Path) -> None:
    assert_is(loaded(save({"mine": EDSR.saved, "epoch": 2}, tmp_path / "network.pth")), EDSR)


def test_several_sets_of_weights_are_not_chosen_from(tmp_path: Path) -> None:
    path = save({"a": EDSR.saved, "b": LIIF.saved}, tmp_path / "network.pth")
    with pytest.raises(CheckpointError, match=r"2 sets of weights \(a, b\), of which one is exp"):
        read_checkpoint(path)


def test_safetensors_without_metadata(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_file({f"params_ema.{k}": weight for k, weight in EDSR.saved.items()}, path)
    assert_is(loaded(path), EDSR)
    save_file(LIIF.saved, path, metadata={"format": "pt"})
    assert_is(loaded(path), LIIF)


def test_a_file_that_holds_itself(tmp_path: Path) -> None:
    content: Data = {"params": EDSR.saved}
    content["self"] = content
    for _ in range(60):
        content = {"left": content, "right": content}
    with pytest.raises(CheckpointError, match="does not describe its network"):
        read_checkpoint(save(content, tmp_path / "network.pth"))


UNKNOWN: dict[str, tuple[Any, str]] = {
    "weights": ({"a.b": torch.ones(1)}, r"file of torch.save, 1 weight \(a.b\); "),
    "in a wrapper": ({"net": {"a.b": torch.ones(1)}}, r"1 weight \(a.b\) under net; "),
    "esrgan": ({"body.0.rdb1.conv1.weight": torch.ones(1)}, "which look like ESRGAN; "),
    "span": ({"params": {"block_1.c1_r.sk.weight": torch.ones(1)}}, "like SPAN under params; "),
    "nothing": ({"params": {}}, "BasicSR .* that holds no weights; "),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_weights_are_told_from_accepted_ones(kind: str, tmp_path: Path) -> None:
    content, found = UNKNOWN[kind]
    accepted = "expected model: .*LIIF, PCSR, EDSR, .*IMDN; found a "
    with pytest.raises(CheckpointError, match=f"{accepted}.*{found}docs/training.md lists"):
        read_checkpoint(save(content, tmp_path / "network.pth"))
