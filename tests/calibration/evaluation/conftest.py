from pathlib import Path

import pytest

from .pictures import save, smooth


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(smooth(50, 45), tmp_path / "hr" / "one.png")


@pytest.fixture
def two_images(image: Path) -> list[Path]:
    return [image, save(smooth(40, 64, seed=1), image.with_name("two.png"))]
