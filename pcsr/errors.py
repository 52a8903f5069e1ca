"""Errors that a user can mend. Only the command line catches them.

Every message is one line: what was expected, what was found, what to do.

Examples:
    >>> from pcsr import PcsrError, Upscaler
    >>> try:
    ...     Upscaler("nowhere/")
    ... except PcsrError as error:
    ...     print(f"{type(error).__name__}, exit code {error.exit_code}: {error}")
    BundleError, exit code 2: nowhere is not a bundle (no manifest.json); make one with ...
"""


class PcsrError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what a command ends with."""

    exit_code = 2


class UsageError(PcsrError):
    """An option or argument is out of range or does not fit the others."""


class CheckpointError(PcsrError):
    """A checkpoint cannot be read, or does not describe a network that we know."""


class BundleError(PcsrError):
    """A bundle is missing, damaged, foreign, or of a newer format."""


class VerificationError(PcsrError):
    """The exported graphs do not reproduce the PyTorch network within tolerance."""

    exit_code = 1


class ImageError(PcsrError):
    """An image cannot be read, is too large, or has a layout that we do not take."""

    exit_code = 1


class OutputError(PcsrError):
    """A result cannot be written: it exists, the folder is read-only, the disk is full."""

    exit_code = 1


class BackendError(PcsrError):
    """The asked-for device or backend is not there."""

    exit_code = 3


class CancelledError(PcsrError):
    """A call was cancelled, or its deadline has passed, before its image was finished."""

    exit_code = 1


class EngineError(PcsrError):
    """A TensorRT engine cannot be built, loaded or run, or is stale and may not be rebuilt."""

    exit_code = 1
