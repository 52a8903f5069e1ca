"""Upscales with the installed pcsr, outside a checkout: python wheel-upscale.py BUNDLE."""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import pyvips

import pcsr
from pcsr.runtime.cpu.passes import instructions


def photo() -> np.ndarray:
    """Returns waves with some noise: [45, 67, 3] uint8."""
    rows, columns = np.mgrid[:45, :67]
    waves = 127 + 90 * np.sin(rows / 5)[..., None] * np.cos(columns[..., None] / (3, 5, 8))
    noise = np.random.default_rng(0).normal(0, 8, (45, 67, 3))
    return np.clip(waves + noise, 0, 255).astype(np.uint8)


def check_upscaler(bundle: str) -> None:
    """Expects `auto` to take the compiled passes, and ONNX Runtime alone to compute the same."""
    image = photo()
    upscaler = pcsr.Upscaler(bundle)
    assert upscaler.backend == "native", f"auto took {upscaler.backend}"
    expected = pcsr.Upscaler(bundle, backend="onnxruntime")
    for options in ({}, {"adaptive": True}, {"scale": 2.5}):
        found, other = (u(image, **options).image.astype(int) for u in (upscaler, expected))
        assert found.shape == other.shape, (found.shape, other.shape)
        assert abs(found - other).max() <= 1, f"{options}: {abs(found - other).max()} levels"


def check_commands(bundle: str) -> None:
    """Expects the commands to work with nothing but the environment's own folder on the path."""
    scripts = Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.png"), Path(folder, "out.png")
        pyvips.Image.new_from_array(photo()).write_to_file(str(source))
        command = [scripts / "pcsr-upscale", "-q", bundle, source, out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        assert pyvips.Image.new_from_file(str(out)).width == 4 * 67
    done = subprocess.run(
        [scripts / "pcsr-doctor", bundle], check=True, capture_output=True, text=True
    )
    assert f"works  {instructions()} passes" in done.stdout, done.stdout


def main() -> None:
    """Runs the checks and names what they ran with."""
    [bundle] = sys.argv[1:]
    assert Path(pcsr.__file__).is_relative_to(sys.prefix), f"imported {pcsr.__file__}"
    check_upscaler(bundle)
    check_commands(bundle)
    print(f"Python {sys.version.split()[0]}: native, {instructions()}")  # noqa: T201


if __name__ == "__main__":
    main()
