"""Mutations of bytes, of JSON-like trees and of arrays, all drawn from one random generator."""

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np

INTEGERS = (0, -1, 1, 2, 3, 127, 255, 65_536, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, -(2**63))
NUMBERS: tuple[Any, ...] = (*INTEGERS, 0.5, -0.0, 1e-300, 1e308, 3.4e38, float("inf"), float("nan"))
STRANGE: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "../../etc/passwd",
    "/dev/zero",
    "a\nb",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    {"": None},
    "9" * 5000,
    10**400,
)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flips, overwrites, removes, repeats or inserts some bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            out[at : at + length] = rng.choice((b"\xff", b"\x00", b"\x7f")) * length
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length] * rng.choice((1, 1, 100))
        else:
            del out[at:]
    return bytes(out)


def mutated_tree(value: Any, rng: random.Random) -> Any:  # noqa: ANN401
    """Changes some places of a tree of dicts, lists and plain values."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return value
        holder, key = rng.choice(places)
        _change(holder, key, rng)
    return value


def mutated_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Changes shape, dtype or values."""
    changes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array.astype(rng.choice(("f2", "f8", "i4", "u1", "c8", ">f4", "S3", "?"))),
        lambda: array.reshape(-1),
        lambda: array[..., None],
        lambda: array[: rng.randrange(max(1, len(array)))] if array.ndim else array,
        lambda: np.concatenate([array] * rng.choice((2, 3, 17))) if array.ndim else array,
        lambda: np.asfortranarray(array),
        lambda: np.zeros((0, *array.shape[1:]), array.dtype),
        lambda: np.full_like(array, rng.choice((np.nan, np.inf, 3.4e38, -3.4e38, 1e-45, 0))),
        lambda: array * np.float32(rng.choice((-1, 1e10, 1e38, 1e-30))),
    )
    with np.errstate(all="ignore"):
        return rng.choice(changes)()


def _places(value: Any) -> Any:  # noqa: ANN401
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change(holder: Any, key: Any, rng: random.Random) -> None:  # noqa: ANN401
    old, kind = holder[key], rng.randrange(8)
    if kind < 3 and isinstance(old, int | float):
        holder[key] = rng.choice((*NUMBERS, old + 1, old - 1, old * 1000, -old))
    elif kind == 3 and isinstance(holder, dict):
        del holder[key]
    elif kind == 4 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "fp32", "backbone", "a\nb"))] = holder.pop(key)
    elif kind == 5 and isinstance(old, list):
        holder[key] = old * rng.choice((0, 2, 1000))
    elif kind == 6:
        for _ in range(rng.choice((1, 20, 60))):
            holder[key] = [holder[key]]
    elif kind == 7 and isinstance(old, str):
        holder[key] = old + rng.choice(("x", "/", "\n", " " * 300, "\0", "é"))
    else:
        holder[key] = copy.deepcopy(rng.choice((*STRANGE, *NUMBERS)))
