"""Finds in what a checkpoint file holds its description or its weights, whatever wraps them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pcsr.models.values import SHOWN
from pcsr.text import one_line

DESCRIBED = frozenset({"name", "args", "sd"})
WRAPPERS = (
    *("params_ema", "params-ema", "model_ema", "ema_model", "ema", "net_g_ema", "generator_ema"),
    *("params", "state_dict", "model_state_dict", "model", "net", "network"),
    *("generator", "net_g", "netG", "net_g_state_dict", "g", "sd", "weights"),
)
"""Names of what holds weights, preferred ones first: averaged weights are those to deploy."""
UNWANTED = re.compile(
    r"(?i)(optim|(lr_?)?sched|loss|crit|cri_|disc|metric|percep|lpips|vgg|net_?d\b|d$|step_counter)"
)
"""Beginnings of the names of what trainings keep beside the network."""
MOST_NESTED = 8


@dataclass(frozen=True)
class Part:
    """Holds a dict within a file, and the keys that lead to it."""

    path: tuple[str, ...]
    value: Mapping[str, Any]
    holder: Mapping[str, Any]
    """The dict that it lies in; itself where it is the whole file."""

    @property
    def place(self) -> str:
        """Names where it lies: keys joined by slashes, empty for the whole file."""
        return one_line("/".join(key[:20] for key in self.path))[:SHOWN]


def find_description(content: Any) -> Part | None:  # noqa: ANN401
    """Finds the first dict of name, args and sd, preferred wrappers first."""
    return next((part for part in _parts(content) if part.value.keys() >= DESCRIBED), None)


def find_weights(content: Any) -> list[Part]:  # noqa: ANN401
    """Lists the state dicts among which there is no preference: one, where a file is clear."""
    found = [part for part in _parts(content) if is_state(part.value)]
    if found and all(key in WRAPPERS for key in found[0].path):
        return found[:1]
    return found


def is_state(value: Mapping[str, Any]) -> bool:
    """Says whether a dict holds tensors alone, by names."""
    return bool(value) and all(
        type(name) is str and isinstance(weight, Tensor) for name, weight in value.items()
    )


def _parts(content: Any) -> Iterator[Part]:  # noqa: ANN401
    """Yields a dict and those within it, each once, preferred wrappers first."""
    if not isinstance(content, dict):
        return
    left, seen = [Part((), content, content)], set()
    while left:
        part = left.pop()
        if id(part.value) in seen:
            continue
        seen.add(id(part.value))
        yield part
        if len(part.path) < MOST_NESTED:
            left += reversed(_within(part))


def _within(part: Part) -> list[Part]:
    keys = [
        key
        for key, value in part.value.items()
        if type(key) is str and isinstance(value, dict) and not UNWANTED.match(key)
    ]
    keys.sort(key=lambda key: WRAPPERS.index(key) if key in WRAPPERS else len(WRAPPERS))
    return [Part((*part.path, key), part.value[key], part.value) for key in keys]
