"""Bundles that bf16 may be computed for."""

from pathlib import Path

import pytest

from tests.runtime.cpu.bf16 import passed


@pytest.fixture
def carn_passed(carn_like_bundle: Path, tmp_path: Path) -> Path:
    """Tiny random CARN-PCSR whose loss in bf16 counts as measured."""
    return passed(carn_like_bundle, tmp_path)


@pytest.fixture
def plain_passed(plain_bundle: Path, tmp_path: Path) -> Path:
    """Tiny random plain FSRCNN, the same."""
    return passed(plain_bundle, tmp_path)
