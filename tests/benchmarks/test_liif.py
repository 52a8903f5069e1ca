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
from tests.runtime.cpu.bf16 import has_bf16

MODES = ["k = 0", "ADM", "all heavy", "all light"]
AUTHORS = "LIIF, form of its authors"


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


def psnr_of(files: tuple[Path, Path, Path], *options: str) -> dict[str, float]:
    """Runs the command for tiny images: dB by the names of the rows."""
    liif, routed, photo = map(str, files)
    given = ["--pcsr", routed, "--photo", photo, "--size", "24x16", "--rounds", "1", "--no-others"]
    done = CliRunner().invoke(main, [liif, *given, *options])
    assert done.exit_code == 0, done.output
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    return {row[0].strip(): float(row[3]) for row in rows}


@pytest.mark.parametrize("scale", ["3.5", "4"])
def test_the_bundle_is_as_good_as_the_authors_form(
    files: tuple[Path, Path, Path], scale: str
) -> None:
    found = psnr_of(files, "--scale", scale)
    assert list(found) == [AUTHORS, "LIIF", *(f"its PCSR, {n}" for n in MODES)]
    assert found["LIIF"] == pytest.approx(found[AUTHORS], abs=0.01)


@has_bf16
def test_bf16_is_measured_beside_fp32(files: tuple[Path, Path, Path]) -> None:
    found = psnr_of(files, "--precision", "fp32", "--precision", "bf16")
    names = ["LIIF", *(f"its PCSR, {n}" for n in MODES)]
    assert list(found) == [AUTHORS, *names, *(f"{name}, bf16" for name in names)]
    for name in names:
        assert found[f"{name}, bf16"] == pytest.approx(found[name], abs=0.1)
    assert any(found[f"{name}, bf16"] != found[name] for name in names)


def test_a_pcsr_is_no_liif(files: tuple[Path, Path, Path]) -> None:
    done = CliRunner().invoke(main, [str(files[1]), "--no-others"])
    assert done.exit_code == 2
    assert "not a LIIF checkpoint" in done.stderr
