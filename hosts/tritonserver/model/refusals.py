"""How a failed request is answered: what the client did is told to it, what the server did is
logged.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pcsr.errors import CancelledError, ImageError, PcsrError, UsageError
from pcsr.text import one_line

THEIRS = (UsageError, ImageError)
"""Errors that a client can mend."""
_CALIBRATED = "; leave PRESET, BUDGET_MS and MAX_PSNR_LOSS_DB out"
NOT_FOR_CLIENTS = {
    "; raise --max-pixels": "; send a smaller one",
    ", or pass --accept-damaged to take what can be decoded": "",
    r"^the bundle has no operating point; run .*": f"this model is not calibrated{_CALIBRATED}",
    r"^the bundle has no times for .*": "no time was measured for this model; leave BUDGET_MS out",
    r"^cannot write image\.\w+:": "cannot encode the result:",
    r"\[height, width\] or (?=\[height, width, )": "",
}
"""Patterns of what is for those who run a command, and what a client is told instead."""


class BusyError(PcsrError):
    """As many requests are pending as the model takes."""


class Refusal(NamedTuple):
    """Describes the answer to a request that failed."""

    code: str
    """The name of an error code of `TritonError`."""
    text: str
    outcome: str
    """The name by which it is counted."""


def refusal(error: Exception, hidden: Sequence[str] = ()) -> Refusal:
    """Says how a request is answered that failed with this error. hidden: paths of the server.

    Examples:
        >>> from pcsr import ImageError
        >>> from pcsr.tritonserver.model.refusals import refusal
        >>> refusal(ImageError("expected an image, found a PDF"))
        Refusal(code='INVALID_ARG', text='expected an image, found a PDF', outcome='invalid')
        >>> refusal(ValueError("list index")).text
        'the server failed on this request; its log says why'
    """
    if isinstance(error, BusyError):
        return Refusal("UNAVAILABLE", str(error), "refused")
    if isinstance(error, THEIRS):
        return Refusal("INVALID_ARG", _for_clients(str(error), hidden), "invalid")
    if isinstance(error, CancelledError):
        return Refusal("CANCELLED", str(error), "cancelled")
    if isinstance(error, MemoryError):
        text = "the server is out of memory; send a smaller image, or try again later"
        return Refusal("UNAVAILABLE", text, "failed")
    text = "the server failed on this request; its log says why"
    return Refusal("INTERNAL", text, "failed")


def _for_clients(text: str, hidden: Sequence[str]) -> str:
    for path in sorted(hidden, key=len, reverse=True):
        text = text.replace(path, "the bundle")
    for advice, instead in NOT_FOR_CLIENTS.items():
        text = re.sub(advice, instead, text, flags=re.DOTALL)
    return one_line(text)
