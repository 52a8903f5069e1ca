"""A complete host for a PCSR bundle in NumPy and ONNX Runtime, written from docs/bundle.md alone.

Read it to port the runtime to another language. It routes by k, for any M, keeps everything in
memory and is not tuned; `pcsr.Upscaler` is what to use from Python.

    python examples/minimal_host.py BUNDLE INPUT.npy OUTPUT.npy     # [h, w, 3] float32 in [0, 1]
"""

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when imported
import onnxruntime as ort
from numpy.typing import NDArray

Floats = NDArray[np.float32]
f32 = np.float32


Place = tuple[NDArray[np.int32], Floats]
"""One dimension of where output pixels lie: on which input pixel, and the offset to it."""


@dataclass(frozen=True)
class Axis:
    """One dimension of the output: where m output pixels lie on n input pixels."""

    nearest: Place
    sides: tuple[Place, Place]
    cell: np.float32
    lower: NDArray[np.int32]
    upper: NDArray[np.int32]
    weight: Floats


def make_axis(n: int, m: int) -> Axis:
    y = f32(-1 + 1 / m) + f32(2 / m) * np.arange(m, dtype=f32)

    def position(at: Floats) -> Floats:
        p: Floats = (((at + f32(1)).astype(np.float64) * n - 1) / 2).astype(f32)
        return p

    def place(at: Floats) -> Place:
        nearest = np.clip(np.rint(position(at)), 0, n - 1).astype(np.int32)
        return nearest, (y - (f32(-1 + 1 / n) + f32(2 / n) * nearest.astype(f32))) * f32(n)

    def side(s: int) -> Place:
        return place(np.clip(y + f32(s / n + 1e-6), f32(-1 + 1e-6), f32(1 - 1e-6)))

    q = np.clip(position(y), 0, n - 1)
    lower = np.floor(q).astype(np.int32)
    upper = np.minimum(lower + 1, n - 1).astype(np.int32)
    return Axis(place(y), (side(-1), side(1)), f32(2 / m) * f32(n), lower, upper, q - lower)


def locate(rows: Place, columns: Place, width: int) -> tuple[NDArray[np.int32], Floats]:
    """Gives the index [H*W] and the offset [H*W, 2] of one neighbour of all output pixels."""
    index = (rows[0][:, None] * width + columns[0]).ravel().astype(np.int32)
    offset = np.stack(np.meshgrid(rows[1], columns[1], indexing="ij"), axis=-1)
    return index, offset.reshape(-1, 2)


def read_manifest(bundle: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    if manifest.get("format_version") != 5 or manifest.get("kind") != "pcsr":
        raise ValueError(f"{bundle} is not a PCSR bundle of format 5")
    return manifest


def open_session(bundle: Path, graph: dict[str, Any]) -> ort.InferenceSession:
    data = (bundle / graph["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != graph["sha256"]:
        raise ValueError(f"{graph['file']} is damaged")
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


def upscale(
    bundle: Path, image: Floats, scale: float, k: float = 0.0, refine: bool | None = None
) -> Floats:
    """Upscales an image [h, w, 3] RGB in [0, 1] to [round(h * scale), round(w * scale), 3], not
    clipped.
    """
    manifest = read_manifest(bundle)
    sessions = {role: open_session(bundle, g) for role, g in manifest["graphs"]["fp32"].items()}
    h, w = image.shape[:2]
    rows, columns = make_axis(h, round(h * scale)), make_axis(w, round(w * scale))

    row_maps = [f"{role}_features" for role in sessions if role != "backbone"]  # not `features`
    maps = sessions["backbone"].run(row_maps, {"image": image.transpose(2, 0, 1)[None]})
    features = dict(zip(row_maps, maps, strict=True))

    index, offset = locate(rows.nearest, columns.nearest, w)
    corners = [locate(y, x, w) for y in rows.sides for x in columns.sides]
    around = [np.stack(values, axis=1) for values in zip(*corners, strict=True)]

    def run(role: str, pixels: NDArray[np.intp], neighbours: int = 1) -> Floats:
        inputs = {
            "features": features[f"{role}_features"],
            "index": (index if neighbours == 1 else around[0])[pixels],
            "offset": (offset if neighbours == 1 else around[1])[pixels],
            "cell": np.array([rows.cell, columns.cell]),
        }
        out: Floats = sessions[role].run(None, inputs)[0]
        return out

    upsamplers = manifest["model"]["upsamplers"]
    everything = np.arange(len(index))
    assignment = np.zeros(len(index), dtype=np.uint8)
    if len(upsamplers) > 1:
        assignment = route(run("classifier", everything), cost_table(manifest, scale), k)
    size = (len(rows.lower), len(columns.lower))
    bases = {"bilinear": bilinear(image, rows, columns), "none": np.zeros((*size, 3), f32)}
    out = np.empty((len(index), 3), dtype=f32)
    for j, upsampler in enumerate(upsamplers):
        pixels = np.flatnonzero(assignment == j)
        residual = run(f"upsampler_{j}", pixels, upsampler["neighbours"])
        out[pixels] = bases[upsampler["base"]].reshape(-1, 3)[pixels] + residual
    heavy = assignment.reshape(size) < (len(upsamplers) + 1) // 2
    whole = out.reshape(*size, 3)
    if refine is None:
        refine = manifest["refine"]
    return refined(whole, heavy) if refine else whole


def cost_table(manifest: dict[str, Any], scale: float) -> Floats:
    costs = manifest["costs"]
    work = np.array(costs["upsampler_flops"], f32) * f32(round(16 * scale) ** 2)
    work += f32(costs["backbone_flops"])
    cost: Floats = work / work.sum()
    return cost


def route(logits: Floats, cost: Floats, k: float) -> NDArray[np.uint8]:
    if len(cost) == 2:
        light: NDArray[np.bool_] = logits[:, 0] <= k * np.log(cost[0] / cost[1])
        return light.astype(np.uint8)
    utility = logits - f32(k) * np.log(cost)
    lighter_first = utility[:, ::-1].argmax(axis=1)
    best: NDArray[np.intp] = len(cost) - 1 - lighter_first
    return best.astype(np.uint8)


def bilinear(image: Floats, rows: Axis, columns: Axis) -> Floats:
    lines = image[rows.lower] * (1 - rows.weight[:, None, None])
    lines += image[rows.upper] * rows.weight[:, None, None]
    left, right = lines[:, columns.lower], lines[:, columns.upper]
    out: Floats = left * (1 - columns.weight[:, None]) + right * columns.weight[:, None]
    return out


def refined(out: Floats, heavy: NDArray[np.bool_]) -> Floats:
    height, width = heavy.shape
    result = out.copy()
    if height < 3 or width < 3:
        return result
    shifts = [
        (slice(i, height - 2 + i), slice(j, width - 2 + j)) for i in range(3) for j in range(3)
    ]
    near = np.logical_or.reduce([heavy[shift] for shift in shifts])
    mean = sum(out[shift] for shift in shifts) / f32(9)
    inner = (slice(1, -1), slice(1, -1))
    result[inner] = np.where((near & ~heavy[inner])[..., None], mean, out[inner])
    return result


def read_image(path: Path) -> Floats:
    try:
        with path.open("rb") as file:
            image: Floats = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is no .npy file: {error}") from error
    if image.dtype != f32 or image.shape[2:] != (3,) or image.size == 0:
        found = f"{list(image.shape)} {image.dtype}"
        raise ValueError(f"{path} is no image: expected [h, w, 3] float32, found {found}")
    return image


def main(arguments: list[str]) -> None:
    if len(arguments) != 3:
        raise ValueError("expected BUNDLE INPUT.npy OUTPUT.npy")
    bundle, source, target = map(Path, arguments)
    np.save(target, upscale(bundle, read_image(source), scale=4))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as error:
        text = str(error) if isinstance(error, (OSError, ValueError)) else repr(error)
        print("error:", *text.split(), file=sys.stderr)  # noqa: T201
        sys.exit(2)
