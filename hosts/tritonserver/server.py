"""Finds a tritonserver on this machine, and what it needs to run models in this Python."""

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path

from pcsr.errors import BackendError, OutputError

WHEEL = "nvidia-pytriton"
IMAGES = Path("/opt/tritonserver/bin/tritonserver")  # where NVIDIA's container images have it
STUB = "triton_python_backend_stub"
ABSENT = (
    "found no tritonserver: none on PATH, none in /opt/tritonserver/bin, and no nvidia-pytriton in "
    "{python}; run pip install '.[cpu,serve]' in a clone of pcsr (Linux x86_64, glibc 2.35, Python "
    "3.11 or 3.12), use NVIDIA's container image, or name one by --server"
)


@dataclass(frozen=True)
class Server:
    """A tritonserver that can be run."""

    program: Path
    backends: Path | None = None
    """The folder of its backends, where it would not find them by itself."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that differ from those of this process."""


def find_server(program: Path | None = None) -> Server:
    """Finds the server: the one that is named, else on PATH, else that of NVIDIA's container
    images, else the one in the wheel nvidia-pytriton of this Python.

    Raises:
        BackendError: there is none, or the wheel's cannot run in this Python.
        OutputError: the folder of the wheel's backends cannot be written.
    """
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    if program is not None and not os.access(program, os.X_OK):
        raise BackendError(f"expected the program tritonserver, found none at {program}")
    found = program or shutil.which("tritonserver") or (IMAGES if IMAGES.exists() else None)
    if found is not None:
        return Server(Path(found), environment=path)
    try:
        wheel = distribution(WHEEL)
    except PackageNotFoundError:
        raise BackendError(ABSENT.format(python=sys.executable)) from None
    return _server_in_wheel(wheel, path)


def _server_in_wheel(wheel: Distribution, path: Mapping[str, str]) -> Server:
    """The wheel's server, told where this Python and the server's own libraries are."""
    if int(version("numpy").split(".")[0]) >= 2:
        raise BackendError(
            f"the server in {WHEEL} {wheel.version} returns empty outputs with numpy "
            f"{version('numpy')}; run pip install 'numpy<2' in this environment"
        )
    folder = Path(str(wheel.locate_file("pytriton"))) / "tritonserver"
    stub = folder / "python_backend_stubs" / _minor() / STUB
    if not stub.exists():
        raise BackendError(f"{WHEEL} {wheel.version} has no Python backend for Python {_minor()}")
    libraries = [_folder_of_libpython(), Path(str(wheel.locate_file("nvidia_pytriton.libs")))]
    before = os.environ.get("LD_LIBRARY_PATH")
    joined = os.pathsep.join([*map(str, libraries), *([before] if before else [])])
    files = [*(folder / "backends" / "python").glob("*.*"), stub]
    return Server(
        folder / "bin" / "tritonserver",
        _linked([file for file in files if file.is_file()], wheel.version),
        {**path, "LD_LIBRARY_PATH": joined},
    )


def _minor() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _folder_of_libpython() -> Path:
    """Finds the folder of this Python's shared library, which the backend's stub loads."""
    name = f"libpython{_minor()}.so.1.0"
    folder = Path(sysconfig.get_config_var("LIBDIR"))
    for place in (folder, folder / (sysconfig.get_config_var("MULTIARCH") or "")):
        if (place / name).exists():
            return place
    raise BackendError(
        f"Triton's Python backend needs {name}, which is not in {folder}; install it (apt install "
        f"libpython{_minor()}), or use a Python that was built with --enable-shared"
    )


def _linked(files: list[Path], wheel_version: str) -> Path:
    """Links the files into a backend directory of the user's cache; returns the directory.

    The server looks for the stub beside its backend, and the wheel keeps a stub for each Python
    elsewhere.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pcsr"
    key = hashlib.sha256("\n".join(map(str, files)).encode()).hexdigest()[:12]
    folder = base / f"tritonserver-{wheel_version}-{key}"
    try:
        (folder / "python").mkdir(parents=True, exist_ok=True)
        for file in files:
            link = folder / "python" / file.name
            if not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(file)
    except FileExistsError:
        return _linked(files, wheel_version)  # another start made it in the same moment
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror}; name another folder by XDG_CACHE_HOME"
        ) from error
    return folder
