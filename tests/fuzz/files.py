"""Mutated checkpoints, configs and images."""

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml

from .mutations import mutated_bytes, mutated_tree

Tensors = dict[str, torch.Tensor]


def checkpoint(original: Path, folder: Path, rng: random.Random) -> None:
    """A checkpoint that differs in its bytes, in its pickle, in its description or its weights."""
    data = (original / f"{rng.choice(('carn', 'fsrcnn', 'plain'))}.pth").read_bytes()
    target, kind = folder / "network.pth", rng.randrange(4)
    if kind == 0:
        target.write_bytes(mutated_bytes(data, rng))
    elif kind == 1:
        target.write_bytes(_mutated_pickle(data, rng))
    else:
        content = torch.load(io.BytesIO(data), weights_only=True)
        model = content["model"]
        if kind == 2:
            model["args"] = mutated_tree(model["args"], rng)
        else:
            _mutate_weights(model["sd"], rng)
        if rng.random() < 0.2:
            content["data_norm"] = mutated_tree({"mean": [0.4] * 3, "std": [1.0] * 3}, rng)
        torch.save(_wrapped(content, rng), target)


def _wrapped(content: Any, rng: random.Random) -> Any:  # noqa: ANN401
    """Most often as it is; else its weights alone, in the wrappers of other trainings."""
    if rng.random() < 0.6:
        return content
    if rng.random() < 0.7:
        content = content["model"]["sd"]
    for _ in range(rng.randrange(3)):
        content = {rng.choice(("params_ema", "model", "state_dict", "x")): content, "epoch": 1}
    return content


def config(original: Path, folder: Path, rng: random.Random) -> None:
    """A training config that differs."""
    text = (original / "train.yaml").read_bytes()
    if rng.random() < 0.3:
        (folder / "train.yaml").write_bytes(mutated_bytes(text, rng))
        return
    tree = mutated_tree(yaml.safe_load(text), rng)
    if rng.random() < 0.1:
        tree = {"data_norm": {"mean": _aliases(rng.choice((3, 30)))}}
    dumped = yaml.safe_dump(tree, allow_unicode=True)
    if rng.random() < 0.03:
        dumped = "a: " + "[" * rng.choice((100, 5000))
    (folder / "train.yaml").write_bytes(dumped.encode("utf-8", "surrogatepass"))


def image(original: Path, folder: Path, rng: random.Random) -> None:
    """An image file that differs."""
    file = rng.choice(sorted((original / "images").iterdir()))
    data = file.read_bytes()
    for _ in range(rng.choice((1, 1, 3))):
        data = mutated_bytes(data, rng)
    (folder / f"image{file.suffix}").write_bytes(data)


def _aliases(depth: int) -> Any:  # noqa: ANN401
    value: Any = [0.4, 0.4, 0.4]
    for _ in range(depth):
        value = [value, value, value]
    return value


def _mutated_pickle(data: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            is_chosen = name.endswith("data.pkl") or rng.random() < 0.05
            new.writestr(name, mutated_bytes(content, rng) if is_chosen else content)
    return out.getvalue()


def _mutate_weights(weights: Tensors, rng: random.Random) -> None:
    name = rng.choice(sorted(weights))
    old, kind = weights[name], rng.randrange(9)
    changed: Any = old
    if kind == 0:
        del weights[name]
        return
    if kind == 1:
        weights[rng.choice((f"module.{name}", f"_orig_mod.{name}", "total_ops", "", "x"))] = old
        return
    if kind == 2:
        changed = old.to(rng.choice((torch.float16, torch.float8_e4m3fn, torch.int8, torch.bool)))
    elif kind == 3:
        changed = torch.full_like(old.float(), rng.choice((float("nan"), float("inf"), 3e38, 0.0)))
    elif kind == 4:
        changed = torch.zeros(1).as_strided((2**31,), (0,))
    elif kind == 5:
        changed = torch.zeros(()).expand(old.shape)
    elif kind == 6:
        changed = old.reshape(-1)
    elif kind == 7:
        changed = rng.choice((None, 3, "x", [old], old.to_sparse(), old.to(torch.complex64)))
    else:
        changed = old * 1e38
    weights[name] = changed
