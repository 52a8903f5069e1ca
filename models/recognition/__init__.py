"""Recognises networks by their weights, where a file holds weights without a description."""

from .content import Part, find_description, find_weights
from .network import Recognised
from .recognisers import RECOGNISERS, recognised

__all__ = [
    "RECOGNISERS",
    "Part",
    "Recognised",
    "find_description",
    "find_weights",
    "recognised",
]
