"""Small picture files for the tests of commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (12, 20)  # (height, width)
MODES = {  # that Pillow can write
    ".png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    ".jpg": ("RGB", "L", "CMYK"),
    ".tiff": ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"),
    ".webp": ("RGB", "RGBA"),
}


def colours(size: tuple[int, int] = SIZE, seed: int = 0) -> NDArray[np.uint8]:
    """[h, w, 3]: smooth on the left, noise on the right, so that both upsamplers get pixels."""
    height, width = size
    ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(np.arange(width)[None, :, None] < width // 2, ramp, noise).astype(np.uint8)


def picture(
    path: Path,
    mode: str = "RGB",
    size: tuple[int, int] = SIZE,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Path:
    """Writes a picture in a mode of Pillow; `options` go to its encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = Image.fromarray(colours(size, seed))
    if mode == "I;16":
        Image.fromarray(np.asarray(rgb.convert("L"), dtype=np.uint16) * 257).save(path, **options)
    else:
        rgb.convert(mode).save(path, **options)
    return path


def spoilt(folder: Path) -> Iterator[Path]:
    """Files that are called pictures and are none."""
    whole = picture(folder / "truncated.png", size=(40, 40)).read_bytes()
    contents = {
        "truncated.png": whole[: len(whole) // 2],
        "zero.png": b"",
        "text.jpg": b"no picture\n" * 9,
        "header.png": whole[:20],
        "nul.webp": b"\0" * 500,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of a file."""
    with Image.open(path) as image:
        image.load()
        return image.height, image.width


def pixels_of(path: Path) -> NDArray[Any]:
    """Pixels of a file, as Pillow reads them."""
    with Image.open(path) as image:
        return np.asarray(image)
