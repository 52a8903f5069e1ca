"""Reads a request: one image, its options, and which outputs are wanted."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pcsr.errors import ImageError, UsageError
from pcsr.runtime.inputs.arguments import checked, number, one_of, whole
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.text import shortened, size_text

from . import contract
from .device_tensors import copied, shape_of
from .settings import Settings

QUALITY = 95
ARGUMENTS = {
    contract.OUTPUT_FORMAT: one_of(*contract.FORMATS),
    contract.QUALITY: whole("be from 1 to 100", 1, 100),
    contract.TIMEOUT_MS: number("be a number of milliseconds above 0", lambda ms: 0 < ms < 1e12),
}


@dataclass(frozen=True)
class Wanted:
    """Describes what the response is to hold."""

    named: frozenset[str]
    """The outputs that the request names; none if it names none, or all that there are."""
    format: str | None
    """OUTPUT_FORMAT, if there is one."""
    quality: int

    def has(self, output: str) -> bool:
        """Tells whether an output that is no image is sent; the routing only where it is named."""
        return output in self.named or (not self.named and output != contract.ROUTING)

    @property
    def encoded(self) -> bool:
        """Tells whether the image is sent encoded."""
        if self.named:
            return contract.RESULT_ENCODED in self.named
        return self.format is not None

    @property
    def pixels(self) -> frozenset[str]:
        """The outputs of pixels that may be sent; which one it is, is known by the image's type."""
        results = frozenset(contract.RESULTS.values())
        if self.named:
            return results & self.named
        return frozenset() if self.encoded else results

    @property
    def suffix(self) -> str:
        """The suffix of the format that an encoded image is sent in."""
        return contract.FORMATS[self.format or "png"]


@dataclass(frozen=True)
class Call:
    """What one request asks. It holds copies: the server's memory ends with `execute`."""

    image: Any
    """Pixels [h, w, channels] on the host (NumPy) or on a GPU (PyTorch), or the bytes of a file."""
    scale: float | None
    request: RoutingRequest
    wanted: Wanted
    timeout_s: float | None

    @property
    def is_encoded(self) -> bool:
        """Tells whether the image is a file's bytes."""
        return isinstance(self.image, bytes)

    @property
    def bytes(self) -> int:
        """Counts the bytes that the image takes as it came."""
        return len(self.image) if self.is_encoded else int(self.image.nbytes)


def read_call(request: Any, settings: Settings) -> Call:  # noqa: ANN401
    """Reads a request of the server.

    Raises:
        UsageError: an option of another type or out of range, or none or several images.
        ImageError: the image is too large.
    """
    _refuse_parameters(request.parameters())
    given = {tensor.name(): tensor for tensor in request.inputs()}
    options = {name: _option(given[name]) for name in contract.OPTIONS if name in given}
    checks = checked({n: v for n, v in options.items() if n in ARGUMENTS}, ARGUMENTS)
    routing = {name.lower(): options[name] for name in contract.ROUTES if name in options}
    wanted = _wanted(list(request.requested_output_names()), checks)
    timeouts = (checks.get(contract.TIMEOUT_MS), 1e-3 * request.timeout(), settings.timeout_ms)
    timeout_ms = min((ms for ms in timeouts[:2] if ms), default=timeouts[2])
    return Call(
        scale=options.get(contract.SCALE),
        request=RoutingRequest.of(routing),
        wanted=wanted,
        timeout_s=None if timeout_ms is None else 1e-3 * timeout_ms,
        image=_image(given, settings, wanted),  # last: it is the copy
    )


def _refuse_parameters(text: str) -> None:
    for name in json.loads(text or "{}"):
        raise UsageError(
            f"unknown request parameter '{shortened(name, 40)}'; options are input tensors "
            f"({', '.join(contract.OPTIONS)})"
        )


def _option(tensor: Any) -> Any:  # noqa: ANN401
    """Gives the one value of a tensor in Python's own type."""
    name, values = tensor.name(), tensor.as_numpy()
    if values.shape != (1,):
        raise UsageError(f"{name} must have the shape [1], found {list(values.shape)}")
    value = values.item()
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{name} must be text in UTF-8") from None


def _wanted(named: Collection[str], options: Mapping[str, Any]) -> Wanted:
    all_there = len(set(named)) == len(contract.OUTPUTS)
    wanted = Wanted(
        named=frozenset() if all_there else frozenset(named),
        format=options.get(contract.OUTPUT_FORMAT),
        quality=options.get(contract.QUALITY, QUALITY),
    )
    if not wanted.encoded:
        for name in (contract.OUTPUT_FORMAT, contract.QUALITY):
            if name in options:
                raise UsageError(
                    f"{name} is for an encoded image, and none was asked for; ask for the output "
                    f"{contract.RESULT_ENCODED} (with {contract.OUTPUT_FORMAT}), or leave it out"
                )
    return wanted


def _image(given: Mapping[str, Any], settings: Settings, wanted: Wanted) -> Any:  # noqa: ANN401
    kinds = (*contract.PIXELS, contract.ENCODED)
    found = [name for name in kinds if name in given]
    if len(found) != 1:
        raise UsageError(
            f"expected exactly one of {', '.join(kinds)}, found {' and '.join(found) or 'none'}"
        )
    tensor = given[found[0]]
    if found[0] == contract.ENCODED:
        return _file(tensor, settings)
    refuse_output(contract.PIXELS[found[0]], wanted)
    refuse_pixels(shape_of(tensor)[:2], settings.max_input_pixels)
    return copied(tensor)


def _file(tensor: Any, settings: Settings) -> bytes:  # noqa: ANN401
    values = tensor.as_numpy()
    if values.shape != (1,):
        raise UsageError(f"{contract.ENCODED} must have the shape [1], found {list(values.shape)}")
    data: bytes = values.item()
    if len(data) > settings.max_encoded_mib * 2**20:
        raise ImageError(
            f"expected an encoded image of at most {settings.max_encoded_mib} MiB, found "
            f"{len(data)} bytes; send a smaller one"
        )
    return data


def refuse_output(dtype: str, wanted: Wanted) -> None:
    """Raises UsageError where pixels are wanted, and not of the type that the image has."""
    if wanted.pixels and contract.RESULTS[dtype] not in wanted.pixels:
        raise UsageError(
            f"the image has pixels of {dtype}, which come back as {contract.RESULTS[dtype]}, found "
            f"{' and '.join(sorted(wanted.pixels))} asked for"
        )


def refuse_pixels(size: Sequence[int], most: int, what: str = "an image") -> None:
    """Raises ImageError for a (height, width) of more pixels than that."""
    if size[0] * size[1] > most:
        raise ImageError(
            f"expected {what} of at most {most} pixels, found {size_text(size)} = "
            f"{size[0] * size[1]}; send a smaller one, in parts, or choose a smaller scale"
        )
