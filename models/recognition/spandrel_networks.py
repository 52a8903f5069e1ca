"""Networks that spandrel knows (https://github.com/chaiNNer-org/spandrel): recognised by their
weights, and built. Only state dicts are given to it, so it unpickles nothing.
"""

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pcsr.errors import CheckpointError
from pcsr.models.padded import PaddedNetwork
from pcsr.models.plain import LARGEST_SCALE
from pcsr.models.values import shown_error
from pcsr.models.weights import SizeLimit, no_larger_than

from .names import State
from .network import Recognised

PREFIX = "spandrel:"
HOW_TO_INSTALL = "pip install 'pcsr[spandrel]'"
IN_GRAPH = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
"""Of RGB: what else a network subtracts lies within it."""
WINDOWS = dict.fromkeys(("SwinIR", "Swin2SR", "HAT"), "window_size")
"""Networks that mirror images at their end up to a multiple of this attribute themselves."""
PROBE = 16  # side of the image that is tried
MOST_PADDED = 64  # pixels: the most that a graph of a bundle pads
TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def spandrel_network(state: State) -> Recognised | None:
    """Recognises a network of spandrel; None where it knows none, or is not installed."""
    registry = _registry()
    if registry is None:
        return None
    weights = dict(state)
    for support in registry.architectures("detection"):
        try:
            is_known = support.detect(weights)
        except Exception:  # its detectors take what they look at for granted
            continue
        if is_known:
            name, tags = f"{PREFIX}{support.architecture.id}", _tags(weights)
            return Recognised(name, {"tags": tags}, state, data_norm=IN_GRAPH)
    return None


def is_installed() -> bool:
    """Tells whether spandrel can be imported."""
    return _registry() is not None


def build_spandrel_network(name: str, weights: Mapping[str, Tensor]) -> tuple[nn.Module, int]:
    """Builds the network `spandrel:…` of these weights: [1, 3, h, w] RGB in [0, 1] -> [1, 3,
    scale*h, scale*w]. Returns it with its scale.

    Raises:
        CheckpointError: spandrel is not installed, takes the weights for another network or none,
            or the network does not map one RGB image to another.
    """
    if _registry() is None:
        raise CheckpointError(f"{name} needs spandrel, which is not installed; {HOW_TO_INSTALL}")
    found = _loaded(weights)
    if f"{PREFIX}{found.architecture.id}" != name:
        raise CheckpointError(f"spandrel takes the weights for {found.architecture.id}, not {name}")
    _refuse_other_images(found)
    network: nn.Module = _Called(found.model.eval(), found._call_fn)
    multiple, least = _size_needs(found)
    if multiple > 1 or least > PROBE:
        network = PaddedNetwork(network, int(found.scale), multiple, least)
    _probe(network, found.scale)
    return network, int(found.scale)


class _Called(nn.Module):
    """Calls a network as spandrel does: some give several results, or of another range."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, image: Tensor) -> Tensor:
        return self.call(self.network, image)


def _size_needs(found: Any) -> tuple[int, int]:  # noqa: ANN401
    """Gives the number whose multiples the sides of images are, and the least side."""
    needs = found.size_requirements
    window = getattr(found.model, WINDOWS.get(found.architecture.id, ""), 1)
    return math.lcm(needs.multiple_of, window), needs.minimum


def _loaded(weights: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    from spandrel import ModelLoader

    limit = SizeLimit.of_weights(weights)
    floats = {
        name: weight.float() if weight.is_floating_point() else weight
        for name, weight in weights.items()
    }
    with warnings.catch_warnings(action="ignore"), no_larger_than(limit):
        try:
            return ModelLoader().load_from_state_dict(floats)
        except Exception as error:  # of anyone's network, given weights that may be anything
            raise CheckpointError(
                f"spandrel cannot load the weights: {shown_error(error)}"
            ) from error


def _tags(weights: Mapping[str, Tensor]) -> list[str]:
    try:
        return [str(tag) for tag in _loaded(weights).tags]
    except CheckpointError:
        return []  # building it again says why


def _refuse_other_images(found: Any) -> None:  # noqa: ANN401
    """Raises CheckpointError for networks of another purpose, or with needs that graphs of a bundle
    do not meet.
    """
    needs, name = found.size_requirements, found.architecture.id
    reason = ""
    if type(found).__name__ != "ImageModelDescriptor":
        reason = "needs a mask beside the image"
    elif (found.input_channels, found.output_channels) != (3, 3):
        reason = f"maps {found.input_channels} channels to {found.output_channels}, expected RGB"
    elif needs.square:
        reason = "takes only square images"
    elif needs.multiple_of > MOST_PADDED or needs.minimum > max(PROBE, needs.multiple_of):
        reason = f"takes only images of at least {needs.minimum}x{needs.minimum} pixels"
    elif not 1 <= found.scale <= LARGEST_SCALE:
        reason = f"has the scale {found.scale}"
    if reason:
        raise CheckpointError(f"{name} {reason}; such networks are not exported")


@torch.no_grad()
def _probe(network: nn.Module, scale: int) -> None:
    try:
        out = network(torch.zeros(1, 3, PROBE, PROBE))
    except Exception as error:  # of anyone's network
        raise CheckpointError(f"it cannot upscale: {shown_error(error)}") from error
    expected = (1, 3, PROBE * scale, PROBE * scale)
    if not isinstance(out, Tensor) or tuple(out.shape) != expected:
        found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise CheckpointError(f"it maps {[1, 3, PROBE, PROBE]} to {found}, not {list(expected)}")


def _registry() -> Any:  # noqa: ANN401
    try:
        with _torchvision_or_stand_in():
            from spandrel import MAIN_REGISTRY
    except ImportError:
        return None
    return MAIN_REGISTRY


@contextmanager
def _torchvision_or_stand_in() -> Iterator[None]:
    """Lets spandrel be imported where torchvision is missing, or was built for another PyTorch (the
    one of PyPI beside a PyTorch for CPUs does not load): two of its networks take functions of it,
    inpainting and faces, and no other does.
    """
    if "spandrel" in sys.modules or _loads_torchvision():
        yield
        return
    before = {name: module for name, module in sys.modules.items() if _is_torchvision(name)}
    modules = {name: ModuleType(name) for name in TORCHVISION}
    for name in ("InterpolationMode", "rotate", "normalize"):
        setattr(modules[TORCHVISION[-1]], name, None)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_torchvision(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_torchvision(name: str) -> bool:
    return name == "torchvision" or name.startswith("torchvision.")


def _loads_torchvision() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        return False
    return True
