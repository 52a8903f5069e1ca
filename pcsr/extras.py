"""The optional packages: says which are missing, and how to install them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from pcsr.errors import BackendError


@contextmanager
def needs_extra(command: str, extra: str) -> Iterator[None]:
    """Turns a missing package in the body into a BackendError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{command} needs {error.name}, which is not installed; run pip install 'pcsr[{extra}]'"
        ) from error
    except ImportError as error:
        raise BackendError(f"{command} cannot load what it needs: {error}") from error


def require_packages(command: str, packages: Mapping[str, str], extras: str) -> None:
    """Raises BackendError where `packages`, names to install by names to import, are missing."""
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    if missing:
        raise BackendError(
            f"{command} needs {', '.join(missing)}; run pip install 'pcsr[{extras}]'"
        )
