"""Checkpoints as compilers, profilers and other formats leave them export the same network."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.models.checkpoint import read_checkpoint
from tests import checkpoints
from tests.checkpoints import Data
from tests.commands import assert_refused, export

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def data() -> Data:
    return checkpoints.tiny("fsrcnn")


def loaded(path: Path) -> Weights:
    checkpoint = read_checkpoint(path)
    network = build_network(checkpoint, completed(NetworkSettings(), checkpoint))
    return dict(network.state_dict())


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda sd: {f"{prefix}{name}": weight for name, weight in sd.items()}


def partly(sd: Weights) -> Weights:
    wrapped = {"encoder": "encoder._orig_mod", "heavy_sampler": "heavy_sampler.module"}
    parts = [(name.split(".", 1), weight) for name, weight in sd.items()]
    return {f"{wrapped.get(part, part)}.{rest}": weight for (part, rest), weight in parts}


def counted(sd: Weights) -> Weights:
    ops = torch.zeros(1, dtype=torch.float64)
    return {**sd, "total_ops": ops, "total_params": ops, "encoder.head_conv.0.total_ops": ops}


WRAPPED: dict[str, Callable[[Weights], Weights]] = {
    "compiled": prefixed("_orig_mod."),
    "parallel": prefixed("module."),
    "parallel of compiled": prefixed("module._orig_mod."),
    "compiled of parallel": prefixed("_orig_mod.module."),
    "parts": partly,
    "profiled": counted,
    "averaged": lambda sd: {"n_averaged": torch.tensor(3), **prefixed("module.")(sd)},
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_wrapped_names_give_the_same_network(
    form: str, legacy: bool, data: Data, tmp_path: Path
) -> None:
    wrapped = copy.deepcopy(data)
    wrapped["model"]["sd"] = WRAPPED[form](data["model"]["sd"])
    path = tmp_path / "network.pth"
    torch.save(wrapped, path, _use_new_zipfile_serialization=not legacy)
    found = loaded(path)
    assert found.keys() == data["model"]["sd"].keys()
    assert all(torch.equal(found[name], weight) for name, weight in data["model"]["sd"].items())


def test_safetensors_that_describe_their_network(data: Data, tmp_path: Path) -> None:
    model = data["model"]
    described = {"name": model["name"], "args": model["args"], "scale": 3}
    path = tmp_path / "network.safetensors"
    save_file(model["sd"], path, metadata={"pcsr": json.dumps(described)})
    assert read_checkpoint(path).training == {"scale": 3}
    found = loaded(path)
    assert all(torch.equal(found[name], weight) for name, weight in model["sd"].items())


def test_safetensors_without_a_description_are_called_by_their_name(
    data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "network.pth"
    save_file(data["model"]["sd"], path)
    refused = export("--ckpt", path, "-o", tmp_path / "bundle")
    assert_refused(refused, 2, "is a safetensors file, which holds weights but not what network")


def test_a_cut_safetensors_file(data: Data, tmp_path: Path) -> None:
    model = data["model"]
    described = json.dumps({"name": model["name"], "args": model["args"]})
    path = tmp_path / "network.safetensors"
    save_file(model["sd"], path, metadata={"pcsr": described})
    path.write_bytes(path.read_bytes()[:-8])
    refused = export("--ckpt", path, "-o", tmp_path / "bundle")
    assert_refused(refused, 2, "damaged safetensors file")
