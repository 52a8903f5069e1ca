"""Asks one recogniser after another what network a state dict belongs to."""

from collections.abc import Callable
from itertools import islice

from .implicit import liif, pcsr
from .names import State, forms
from .network import Recognised
from .plain import basicsr_srresnet, edsr, plain
from .spandrel_networks import spandrel_network

Recogniser = Callable[[State], Recognised | None]

RECOGNISERS: tuple[Recogniser, ...] = (liif, pcsr, edsr, basicsr_srresnet, plain)
LAST: tuple[Recogniser, ...] = (spandrel_network,)
"""Asked for every form of the names that the others do not know; slow to import."""

LONGEST_NAME = 500
MOST_FORMS = 64


def recognised(state: State) -> Recognised | None:
    """Finds what network has these weights, whatever prefixes wrappers and trainings added to their
    names, and with counters of profilers among them.

    state: names to tensors as `check_weights` returns them. Each recogniser gets its names in
    several forms, one after another (`forms`), and returns what it finds or None; it never raises.
    Returns None where no recogniser knows the weights.
    """
    if any(len(name) > LONGEST_NAME for name in state):
        return None
    named = list(islice(forms(state), MOST_FORMS))
    candidates = (
        read(form) for readers in (RECOGNISERS, LAST) for form in named for read in readers
    )
    return next((found for found in candidates if found is not None), None)
