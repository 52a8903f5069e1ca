"""Graphs of one file, as ONNX Runtime opens any, and what the bundle makes of the same image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pcsr import Result, Upscaler
from pcsr.bundle import Bundle
from pcsr.export.single_file.graph import Baked, build_graph
from pcsr.export.verification.references import synthetic_image
from tests import tolerances
from tests.runtime.compare import assert_images_agree, assert_routed_alike

Floats = NDArray[np.float32]
Size = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """A bundle, what is baked into its graph, and the (height, width) of an image."""

    bundle: Path
    baked: Baked
    size: Size

    @property
    def image(self) -> Floats:
        return synthetic_image(self.size)

    def graph(self, shows_routing: bool = False) -> bytes:
        model = build_graph(Bundle.load(self.bundle), self.baked, shows_routing)
        data: bytes = model.SerializeToString()
        return data

    def expected(self) -> Result:
        """What the runtime makes of the image."""
        return by_runtime(self.bundle, self.baked, self.image)

    def check(self) -> None:
        """The graph's image and routing are those of the runtime."""
        session, expected = open_any(self.graph(shows_routing=True)), self.expected()
        image, *assignment = session.run(None, {"image": as_batch(self.image)})
        found = image[0].transpose(1, 2, 0)
        if expected.assignment is None:
            assert np.abs(found - expected.image).max() <= tolerances.IMAGE_FP32
            return
        same = assert_routed_alike(assignment[0][0, 0], np.asarray(expected.assignment))
        assert_images_agree(found, expected.image, same)


def by_runtime(bundle: Path, baked: Baked, image: Floats) -> Result:
    options: dict[str, Any] = {"refine": baked.refine}
    if Bundle.load(bundle).upsamplers > 1:
        options |= {"adaptive": True} if baked.k is None else {"k": baked.k}
    return Upscaler(bundle)(image, baked.scale, **options)


def open_any(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def as_batch(image: Floats) -> Floats:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def by_onnxruntime(model: bytes, image: Floats) -> Floats:
    """[h, w, 3] -> [H, W, 3]."""
    found: Floats = open_any(model).run(None, {"image": as_batch(image)})[0][0]
    return found.transpose(1, 2, 0)
