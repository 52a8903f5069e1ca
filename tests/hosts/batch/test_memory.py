"""A job of many images, some of them large: the memory of a worker stays bounded."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.files.pictures import colours, picture

from .conftest import workers
from .test_jobs import on_ray, rows

SMALL, LARGE = 2000, 5
SIDE = 1100  # of the large ones: their outputs are 58 MB of pixels each
CEILING_MIB = 850  # one process that does the large ones alone takes 615


class Watch(threading.Thread):
    """Notes the most resident memory of any worker."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most_mib, self.ended = 0.0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            for worker in workers():
                try:
                    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
                except OSError:
                    continue
                peak = next((line for line in lines if line.startswith("VmHWM")), "VmHWM: 0")
                self.most_mib = max(self.most_mib, int(peak.split()[1]) / 1024)


@pytest.mark.slow
def test_memory_of_2000_small_and_5_large_images(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    small = picture(source / "0.png", size=(6, 6)).read_bytes()
    for number in range(1, SMALL):
        (source / f"{number}.png").write_bytes(small)
    for number in range(LARGE):
        flat = np.full((SIDE, SIDE, 3), 40 * number, np.uint8)
        flat[:64, :64] = colours((64, 64))
        Image.fromarray(flat).save(source / f"large {number}.png")
    watch = Watch()
    watch.start()
    ended = on_ray(carn_like_bundle, source, tmp_path / "out")
    watch.ended.set()
    assert ended.code == 0, ended.stderr
    assert len(rows(tmp_path / "out")) == SMALL + LARGE
    assert 100 < watch.most_mib < CEILING_MIB
