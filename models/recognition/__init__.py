"""Recognises networks by their weights, where a file holds weights without a description."""

from .content import find_description
from .file import recognised_file
from .network import Recognised
from .recognisers import recognised

__all__ = ["Recognised", "find_description", "recognised", "recognised_file"]
