"""Opens checkpoint files without running code in them, and says what other files are."""

import io
import json
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from pcsr.errors import CheckpointError

from .values import plain, shown_error

MOST_CHECKPOINT_BYTES = 2**29
SAFETENSORS_KEY = "pcsr"
"""The metadata of a safetensors file that describes its network: JSON of name and args."""
MOST_RECORDS = 100_000  # of a zip archive
MOST_PICKLE_BYTES = 2**22
MOST_TUPLES = 50_000  # hashing tuples within tuples overflows the C stack from 100,000 on
LEGACY_PICKLES = 5  # magic number, protocol, system, content, keys of the storages
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

KNOWN_GLOBALS = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|(__builtin__|builtins)\.(set|complex)"
    r"|torch\.(\w+Storage|Size|device|Tensor|bfloat16|bool|u?int\d+|(float|complex)\d\w*)"
    r"|torch\.storage\.\w+Storage|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._utils\._rebuild_(sparse_tensor|meta_tensor_no_storage)"
    r"|torch\._tensor\._rebuild_from_type_v2"
)
ORDINARY = "only ordinary tensors and plain values are loaded"

PACKED = "is packed with {}; unpack it first"
SIGNATURES: Mapping[bytes, str] = {
    b"\x1f\x8b": PACKED.format("gzip (gunzip)"),
    b"BZh": PACKED.format("bzip2 (bunzip2)"),
    b"\xfd7zXZ": PACKED.format("xz (unxz)"),
    b"\x28\xb5\x2f\xfd": PACKED.format("zstd (unzstd)"),
    b"7z\xbc\xaf": PACKED.format("7-Zip (7z x)"),
    b"Rar!": PACKED.format("RAR (unrar x)"),
    b"\x89HDF": "is an HDF5 file, as Keras writes it; expected weights of PyTorch",
    b"\x93NUMPY": "is a NumPy array; expected weights of PyTorch",
    b"GGUF": "is a GGUF file; expected weights of PyTorch",
    b"\x89PNG": "is an image; pass a checkpoint (.pth, .safetensors)",
    b"\xff\xd8\xff": "is an image; pass a checkpoint (.pth, .safetensors)",
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file itself (git lfs pull)",
    b"ftrt": "is a TensorRT engine; pass the checkpoint that it was made from",
}
TAR_MAGIC = (257, b"ustar")
ARCHIVES: Mapping[str, str] = {
    r".*/constants\.pkl|.*/code/.*": "is a TorchScript archive, which holds code beside weights; "
    "pass the checkpoint that it was made from",
    r".*archive_format|.*exported_program\.json|.*models/.*\.json": "is a program of torch.export "
    "(.pt2), which holds a graph beside weights; pass the checkpoint that it was made from",
    r"[^/]*\.npy": "is an archive of NumPy arrays (.npz); expected weights of PyTorch",
    r"(?i).*\.(pth|pt|ckpt|safetensors)": "is a zip archive around a checkpoint; unpack it first "
    "(unzip)",
}


def load_content(path: Path, data: bytes) -> Any:  # noqa: ANN401
    """Loads what torch.save wrote, of any version, or a safetensors file: {"model": {"name",
    "args", "sd"}} where its metadata describe the network, else its tensors by name. Tensors lie on
    the CPU.

    Raises:
        CheckpointError: it is no such file, says what it is; or it would run code.
    """
    if is_safetensors(data):
        return _load_safetensors(path, data)
    _refuse_others(path, data)
    if data.startswith(b"PK\3\4"):  # as torch.load tells archives
        data = _repacked(path, data)
    else:
        _check_legacy(path, data)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except Exception as error:  # torch raises many kinds on foreign files
        raise _damaged(path, type(error).__name__) from error


def is_safetensors(data: bytes) -> bool:
    """Says whether a file begins as the format does: the length of a JSON object, and it."""
    return data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") <= len(data) - 8


def _load_safetensors(path: Path, data: bytes) -> dict[str, Any]:
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        described = header.get("__metadata__", {}).get(SAFETENSORS_KEY)
        model = None if described is None else plain(json.loads(described), SAFETENSORS_KEY)
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path} is a safetensors file whose header is damaged: {shown_error(error)}"
        ) from error
    if described is not None and not (isinstance(model, dict) and {"name", "args"} <= model.keys()):
        raise CheckpointError(
            f"{path} is a safetensors file whose metadata '{SAFETENSORS_KEY}' is not as expected: "
            "JSON of name and args (docs/training.md)"
        )
    try:
        import safetensors.torch

        weights = safetensors.torch.load(data)
    except ImportError as error:
        raise CheckpointError(
            f"{path} is a safetensors file; install the package that reads it: "
            "pip install safetensors"
        ) from error
    except Exception as error:  # the library raises many kinds on damaged files
        raise CheckpointError(
            f"{path} is a damaged safetensors file: {shown_error(error)}"
        ) from error
    if model is None:
        return dict(weights)
    noted = {key: model[key] for key in ("data_norm", "scale", "refine") if key in model}
    return {"model": {"name": model["name"], "args": model["args"], "sd": weights}, **noted}


def _refuse_others(path: Path, data: bytes) -> None:
    """Refuses files of other kinds, and says what they are."""
    for signature, what in SIGNATURES.items():
        if data.startswith(signature):
            raise _foreign(path, what)
    start, magic = TAR_MAGIC
    if data[start : start + len(magic)] == magic:
        raise _foreign(path, PACKED.format("tar (tar -xf)"))
    if re.match(rb"\s*(<!doctype|<html|<\?xml)", data[:200], re.IGNORECASE):
        raise _foreign(path, "is a web page: the download went wrong; download the file itself")
    if re.match(rb"\x08[\x01-\x20](\x12|\x3a)", data) or path.suffix.lower() == ".onnx":
        raise _foreign(path, "is an ONNX model; pass the checkpoint that it was made from (.pth)")
    if not data:
        raise _foreign(path, "is an empty file; was it copied to the end?")


def _repacked(path: Path, data: bytes) -> bytes:
    """Returns the zip archive with nothing but what torch.load reads, each once: torch's own reader
    of archives never sees what someone else wrote.
    """
    try:
        return _repack(path, data)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged archives
        raise _damaged(path, type(error).__name__) from error


def _repack(path: Path, data: bytes) -> bytes:
    if data.count(b"PK\1\2") > MOST_RECORDS:
        raise CheckpointError(f"{path} is an archive of more than {MOST_RECORDS:,} files")
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as clean:
        infos = {info.filename: info for info in archive.infolist()}
        root = _root(path, list(infos))
        total = sum(info.file_size for info in infos.values())
        if total > MOST_CHECKPOINT_BYTES:
            raise CheckpointError(
                f"{path} unpacks to {total:,} bytes, expected at most {MOST_CHECKPOINT_BYTES:,}"
            )
        content = infos[f"{root}/data.pkl"]
        if content.file_size > MOST_PICKLE_BYTES:
            raise CheckpointError(_too_complex(path))
        _check_pickle(path, io.BytesIO(archive.read(content)))
        for name, info in infos.items():
            if re.fullmatch(r"data\.pkl|byteorder|version|data/.+", name.removeprefix(f"{root}/")):
                clean.writestr(f"archive/{name.removeprefix(f'{root}/')}", archive.read(info))
    return packed.getvalue()


def _root(path: Path, names: list[str]) -> str:
    """Returns the folder of the archive that torch.save wrote."""
    for pattern, what in ARCHIVES.items():
        if any(re.fullmatch(pattern, name) for name in names):
            raise _foreign(path, what)
    contents = [name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(contents) != 1:
        raise _foreign(path, "is a zip archive without weights")
    return contents[0].removesuffix("/data.pkl")


def _check_legacy(path: Path, data: bytes) -> None:
    """Looks through the pickles of a file that an old torch.save wrote."""
    if data[:1] != b"\x80":
        raise _damaged(path, "no pickle")
    stream = io.BytesIO(data)
    for number in range(LEGACY_PICKLES):
        _check_pickle(path, stream)
        if number == 0 and LEGACY_MAGIC.to_bytes(10, "little") not in data[: stream.tell()]:
            raise _foreign(path, "is a pickle that torch.save did not write")


def _check_pickle(path: Path, stream: IO[bytes]) -> None:
    """Refuses a pickle that names more than tensors are made of, or is made to exhaust."""
    start, tuples = stream.tell(), 0
    try:
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name in ("GLOBAL", "INST"):
                name = str(argument).replace(" ", ".")
                if not KNOWN_GLOBALS.fullmatch(name):
                    raise CheckpointError(_more_than_weights(path, name))
            tuples += "TUPLE" in operation.name
            if stream.tell() - start > MOST_PICKLE_BYTES or tuples > MOST_TUPLES:
                raise CheckpointError(_too_complex(path))
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        raise _damaged(path, type(error).__name__) from error


def _refusal(path: Path, message: str) -> str:
    wanted = re.search(r"GLOBAL:?\s+(?:GLOBAL\s+)?([\w.]+\.\w+)", message)
    if not wanted:
        return f"{path} is not a PyTorch checkpoint, or is damaged"
    return _more_than_weights(path, wanted[1])


def _more_than_weights(path: Path, name: str) -> str:
    if name.startswith("torch._utils._rebuild_"):
        kind = name.removeprefix("torch._utils._rebuild_")
        return f"{path} holds weights of a kind that is not taken ({kind}); {ORDINARY}"
    return (
        f"{path} holds more than weights: it would import and call {name[:100]}. "
        f"{ORDINARY.capitalize()}; save it again without that object"
    )


def _too_complex(path: Path) -> str:
    return (
        f"{path} holds more parts than any network that could be exported; save its weights alone, "
        "without the state of the training"
    )


def _foreign(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a PyTorch checkpoint: it {what}")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a PyTorch checkpoint, or is truncated ({reason})")
