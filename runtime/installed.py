"""Which packages are installed, without importing them."""

from importlib.metadata import PackageNotFoundError, version

from pcsr.errors import BackendError

PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def refuse_two_packages() -> None:
    """Raises BackendError where both builds of ONNX Runtime are installed: they own the same import
    folder, and which of them loads is chance.
    """
    if len(versions(*PACKAGES)) > 1:
        raise BackendError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; run "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install the one you want"
        )


def versions(*packages: str) -> dict[str, str]:
    """Of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
