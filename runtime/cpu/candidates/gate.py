"""The gate of quality: a bundle runs in bf16 on a CPU only once its loss was measured."""

from pcsr.bundle import Bundle
from pcsr.errors import BundleError

CALIBRATION = "bf16 on a CPU"
"""What the entry of the manifest's `verification` is called that pcsr-calibrate adds."""


def has_passed(bundle: Bundle) -> bool:
    """Tells whether the loss of bf16 was bounded: by pcsr-export, which then keeps the graphs, or
    by pcsr-calibrate.
    """
    entries = bundle.manifest.verification
    return "bf16" in bundle.manifest.graphs or any(
        entry.get("what") == CALIBRATION and entry.get("precision") == "bf16" for entry in entries
    )


def check_quality(bundle: Bundle) -> None:
    """Raises BundleError where nobody has measured what bf16 loses."""
    if not has_passed(bundle):
        raise BundleError(
            f"nobody has measured what {bundle.path} loses in bf16; export it with pcsr-export "
            "--precision fp32,bf16, or run pcsr-calibrate precision --format bf16 "
            f"{bundle.path} IMAGES"
        )
