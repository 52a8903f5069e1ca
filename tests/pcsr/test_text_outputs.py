"""Text outputs replace nothing but text, and are sent to devices and pipes."""

import os
import threading
from pathlib import Path

import pytest

from pcsr.cli import check_text_output, write_text
from pcsr.errors import OutputError, PcsrError, UsageError


@pytest.mark.parametrize("name", ["in.png", "in.JPG", "film.mp4"])
def test_an_image_or_video_is_never_replaced_by_text(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a name such as"):
        check_text_output(tmp_path / name, overwrite=True)


def test_a_file_of_a_bundle_is_never_replaced_by_text(carn_like_bundle: Path) -> None:
    for name in ("manifest.json", "new.json"):
        with pytest.raises(UsageError, match="lies in a bundle"):
            check_text_output(carn_like_bundle / name, overwrite=True)


def test_a_file_that_is_no_text_is_never_replaced_by_text(tmp_path: Path) -> None:
    file = tmp_path / "network.pth"
    file.write_bytes(b"PK\0\0")
    with pytest.raises(OutputError, match="holds no text and would be lost"):
        check_text_output(file, overwrite=True)
    file.write_text("{}")
    check_text_output(file, overwrite=True)
    with pytest.raises(PcsrError, match="exists"):
        check_text_output(file, overwrite=False)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_text(tmp_path / "link.json", "new", overwrite=True)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_pipes_and_devices_are_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    check_text_output(pipe, overwrite=False)
    write_text(pipe, "{}", overwrite=False)
    reader.join(10)
    assert found == ["{}"]
    assert pipe.is_fifo()
    check_text_output(Path("/dev/null"), overwrite=False)
    write_text(Path("/dev/null"), "{}", overwrite=True)
    assert Path("/dev/null").is_char_device()
