"""Puts recorders in the place of kernels."""

from types import ModuleType

import pytest

from benchmarks.compiled.compiler import Launches


def replaced(patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> Launches:
    """Keeps how a kernel of a module is launched, until the end of the test."""
    launches = Launches(getattr(module, name))
    patch.setattr(module, name, launches)
    return launches
