"""Reports what bf16 loses on a CPU, as a table and JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from pcsr.calibration.precision.quality import ImageFigures, mean_figures
from pcsr.calibration.precision.report import image_table


@dataclass(frozen=True)
class Bf16Report:
    """Holds what was measured."""

    bundle: str
    options: Mapping[str, Any]
    images: tuple[ImageFigures, ...]
    digests: tuple[str, ...]
    """The SHA-256 of each image's pixels."""
    choices: tuple[str, ...]
    """What computed bf16."""
    machine: Mapping[str, Any]
    tools: Mapping[str, str]

    @cached_property
    def mean(self) -> Mapping[str, float | None]:
        """The means over the images."""
        return mean_figures(self.images)

    def summary(self) -> dict[str, Any]:
        """Gives what a bundle's manifest keeps of it."""
        losses = [one.psnr_loss_db for one in self.images if one.psnr_loss_db is not None]
        return {
            "images": len(self.images),
            "images_sha256": hashlib.sha256("".join(self.digests).encode()).hexdigest(),
            **self.mean,
            "worst_loss_db": max(losses, default=None),
            "options": dict(self.options),
            "choices": [*self.choices],
            "machine": dict(self.machine),
            "tools": dict(self.tools),
        }

    def to_json(self) -> str:
        """Writes everything; where there is no figure it is null."""
        images = [
            asdict(one) | {"psnr_loss_db": one.psnr_loss_db, "sha256": digest}
            for one, digest in zip(self.images, self.digests, strict=True)
        ]
        data = {"precision": "bf16", "bundle": self.bundle} | self.summary() | {"images": images}
        return json.dumps(data, indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """Formats a line on what computed it and a row for each image."""
        return "\n\n".join(["\n".join(self.choices), image_table(self.images)])
