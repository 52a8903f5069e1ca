"""Checkpoints as compilers, profilers and other formats leave them export the same network."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pcsr.bundle import Bundle
from pcsr.export.exporter import ExportOptions, export_bundle
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


def test_safetensors_of_an_unknown_network_are_called_by_their_name(
    data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "network.pth"
    save_file({**data["model"]["sd"], "more.weight": torch.ones(1)}, path)
    refused = export("--ckpt", path, "-o", tmp_path / "bundle")
    assert_refused(refused, 2, "does not describe its network: .*; found a safetensors file")


@pytest.mark.parametrize("described", ["[1]", '{"name": "carn"}', "3"])
def test_safetensors_with_metadata_that_describe_nothing(
    described: str, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    save_file(data["model"]["sd"], path, metadata={"pcsr": described})
    refused = export("--ckpt", path, "-o", tmp_path / "bundle")
    assert_refused(refused, 2, "metadata 'pcsr' is not as expected")


def rounded(data: Data, dtype: torch.dtype) -> Data:
    data = copy.deepcopy(data)
    state = data["model"]["sd"]
    for name, weight in state.items():
        state[name] = weight.to(dtype) if weight.is_floating_point() else weight
    return data


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    saved = rounded(checkpoints.tiny("carn"), dtype)
    found = loaded(checkpoints.save(saved, tmp_path / "network.pth"))
    assert found.keys() == saved["model"]["sd"].keys()
    assert {w.dtype for w in found.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(found[name], w) for name, w in saved["model"]["sd"].items())


def test_half_precision_exports_as_float32(data: Data, tmp_path: Path) -> None:
    path = checkpoints.save(rounded(data, torch.float16), tmp_path / "half.pth")
    found = export_bundle(path, tmp_path / "half", ExportOptions()).bundle.manifest
    same = checkpoints.save(data, tmp_path / "same.pth")
    expected = export_bundle(same, tmp_path / "same", ExportOptions()).bundle.manifest
    assert found.model == expected.model
    assert found.costs == expected.costs
    assert found.graphs.keys() == {"fp32"}
    assert found.graphs["fp32"]["backbone"].inputs == expected.graphs["fp32"]["backbone"].inputs


def test_weights_alone_export_with_one_line_that_says_so(data: Data, tmp_path: Path) -> None:
    alone = checkpoints.save({"params": data["model"]["sd"]}, tmp_path / "alone.pth")
    done = export("--ckpt", alone, "-o", tmp_path / "bundle")
    assert done.code == 0
    assert len(done.complaints) == 1
    assert "alone.pth describes no network; recognised: pcsr" in done.complaints[0]
    model = Bundle.load(tmp_path / "bundle").manifest.model
    assert [u.widths for u in model.upsamplers] == [(16, 16), (12,)]


def test_a_cut_safetensors_file(data: Data, tmp_path: Path) -> None:
    model = data["model"]
    described = json.dumps({"name": model["name"], "args": model["args"]})
    path = tmp_path / "network.safetensors"
    save_file(model["sd"], path, metadata={"pcsr": described})
    path.write_bytes(path.read_bytes()[:-8])
    refused = export("--ckpt", path, "-o", tmp_path / "bundle")
    assert_refused(refused, 2, "damaged safetensors file")
