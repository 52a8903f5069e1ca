"""An image whose result does not fit the memory is refused before it is computed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pcsr.runtime.files import batch
from pcsr.runtime.files.planning import memory
from tests.commands import assert_refused, upscale
from tests.runtime.files.pictures import SIZE, picture

PIXELS = 16 * SIZE[0] * SIZE[1]
BYTES = {"RGB": 8, "RGBA": 30, "L": 18}  # of an output pixel; measured with 192 megapixels: 29, 21


@pytest.mark.parametrize("mode", BYTES)
def test_what_is_held_whole(
    mode: str, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture(tmp_path / "in.png", mode)
    monkeypatch.setattr(memory, "available_bytes", lambda: BYTES[mode] * PIXELS)
    assert upscale(carn_like_bundle, source, tmp_path / "a.png").code == 0
    monkeypatch.setattr(memory, "available_bytes", lambda: BYTES[mode] * PIXELS - 1)
    ended = upscale(carn_like_bundle, source, tmp_path / "b.png")
    assert_refused(ended, 1, "would need about .* GiB of memory to become 80x48.*smaller --scale")
    monkeypatch.setattr(batch, "STREAMED_PIXELS", 0)
    assert upscale(carn_like_bundle, source, tmp_path / "c.png").code == (mode == "RGBA")


def test_rows_are_shown(
    carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pcsr import Upscaler
    from pcsr.runtime.files.jobs import plan_jobs

    shown: list[int] = []

    class Bar:
        def __init__(self, items: range, *_: object) -> None:
            self.items = items

        def __enter__(self) -> object:
            def items() -> Iterator[int]:
                for item in self.items:
                    shown.append(item)
                    yield item

            return items()

        def __exit__(self, *_: object) -> None: ...

    for mode, rows in (("RGB", 48), ("RGBA", 96)):
        for limit in (2**26, 0):
            monkeypatch.setattr(batch, "STREAMED_PIXELS", limit)
            shown.clear()
            source = picture(tmp_path / f"{mode}.png", mode)
            jobs = plan_jobs([source], tmp_path / f"{mode}{limit}.png").jobs
            upscaler = Upscaler(carn_like_bundle)
            done = list(batch.upscale_files(upscaler, jobs, batch.UpscaleOptions(), Bar))  # type: ignore[arg-type]
            assert done[0].error is None
            assert len(shown) == rows
