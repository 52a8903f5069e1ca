"""python -m benchmarks.liif."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from skimage import io

from benchmarks.image import sample_image
from benchmarks.liif.__main__ import main
from benchmarks.liif.networks import CACHE
from tests import checkpoints


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """A LIIF, a PCSR and a photo."""
    monkeypatch.setattr("benchmarks.liif.networks.CACHE", tmp_path / CACHE.name)
    monkeypatch.setattr("benchmarks.liif.__main__.pin", lambda threads: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    liif, routed, photo = tmp_path / "liif.pth", tmp_path / "pcsr.pth", tmp_path / "photo.png"
    torch.save(checkpoints.liif_checkpoint((16, 16)), liif)
    torch.save(checkpoints.tiny("carn"), routed)
    io.imsave(photo, sample_image((90, 60)))
    return liif, routed, photo


@pytest.mark.parametrize("scale", ["3.5", "4"])
def test_the_bundle_is_as_good_as_the_authors_form(
    files: tuple[Path, Path, Path], scale: str
) -> None:
    liif, routed, photo = map(str, files)
    options = ["--pcsr", routed, "--photo", photo, "--scale", scale, "--size", "24x16"]
    done = CliRunner().invoke(main, [liif, *options, "--rounds", "1", "--no-others"])
    assert done.exit_code == 0, done.output
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    found = {row[0].strip(): float(row[3]) for row in rows}
    names = ["k = 0", "ADM", "all heavy", "all light"]
    assert list(found) == ["LIIF, form of its authors", "LIIF", *(f"its PCSR, {n}" for n in names)]
    assert found["LIIF"] == pytest.approx(found["LIIF, form of its authors"], abs=0.01)


def test_a_pcsr_is_no_liif(files: tuple[Path, Path, Path]) -> None:
    done = CliRunner().invoke(main, [str(files[1]), "--no-others"])
    assert done.exit_code == 2
    assert "not a LIIF checkpoint" in done.stderr
