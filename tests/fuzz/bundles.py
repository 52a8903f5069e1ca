"""Mutated bundles: manifest, arrays and graphs, with hashes made right."""

import hashlib
import io
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .mutations import INTEGERS, mutated_array, mutated_bytes, mutated_tree

OPERATORS = ("Identity", "Cast", "Conv", "Loop", "If", "Expand", "Tile", "Range", "Resize", "Pad")


def manifest(original: Path, folder: Path, rng: random.Random) -> None:
    """A bundle whose manifest differs."""
    bundle = _copy(original, folder, rng)
    file = bundle / "manifest.json"
    text = file.read_text()
    if rng.random() < 0.2:
        file.write_bytes(mutated_bytes(text.encode(), rng))
        return
    if rng.random() < 0.03:
        deep = rng.choice(("[", '{"a": ')) * rng.choice((500, 10**5))
        file.write_text(text.replace(": ", f": {deep}", 1))
        return
    tree = mutated_tree(json.loads(text), rng)
    dumped = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    file.write_bytes(dumped.encode("utf-8", "surrogatepass"))


def npz(original: Path, folder: Path, rng: random.Random) -> None:
    """A bundle whose weights of the upsamplers differ."""
    bundle = _copy(original, folder, rng, "carn", "fsrcnn", "mixed")
    name = json.loads((bundle / "manifest.json").read_text())["mlps"]["file"]
    file = bundle / name
    data = file.read_bytes()
    file.write_bytes(mutated_bytes(data, rng) if rng.random() < 0.4 else _archive(data, rng))
    repair_hashes(bundle)


def onnx_graph(original: Path, folder: Path, rng: random.Random) -> None:
    """A bundle one of whose graphs differs."""
    bundle = _copy(original, folder, rng)
    file = rng.choice(sorted(bundle.rglob("*.onnx")))
    data = file.read_bytes()
    file.write_bytes(mutated_bytes(data, rng) if rng.random() < 0.3 else _graph(data, rng))
    repair_hashes(bundle)


def _copy(original: Path, folder: Path, rng: random.Random, *names: str) -> Path:
    name = rng.choice(names or ("carn", "fsrcnn", "mixed", "plain"))
    return Path(shutil.copytree(original / "bundles" / name, folder / "bundle"))


def repair_hashes(bundle: Path) -> None:
    """Makes the hashes in a bundle's manifest those of its files."""
    file = bundle / "manifest.json"

    def repaired(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, list):
            return [repaired(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("file"), str) and "sha256" in value:
            digest = hashlib.sha256((bundle / value["file"]).read_bytes()).hexdigest()
            value = value | {"sha256": digest}
        return {key: repaired(item) for key, item in value.items()}

    file.write_text(json.dumps(repaired(json.loads(file.read_text()))))


def _archive(data: bytes, rng: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as arrays:
        entries = {name: _npy(arrays[name]) for name in arrays.files}
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(sorted(entries))
            kind = rng.randrange(6)
            if kind == 0:
                del entries[name]
            elif kind == 1:
                entries[rng.choice(("x", "../x", "upsampler_9.bias", name + "."))] = entries[name]
            elif kind == 2:
                entries[name] = mutated_bytes(entries[name], rng)
            elif kind == 3:
                entries[name] = entries[name][:10] + entries[name][10:].replace(
                    b"'shape': (", b"'shape': (%d, " % rng.choice(INTEGERS), 1
                )
            elif name in arrays.files:
                entries[name] = _npy(mutated_array(arrays[name], rng))
            if not entries:
                break
    file = io.BytesIO()
    how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, entry in entries.items():
            archive.writestr(f"{name}.npy", entry)
        if rng.random() < 0.1:
            archive.writestr("bomb.npy", bytes(2**24))
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _graph(data: bytes, rng: random.Random) -> bytes:
    model = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice((_attribute, _operator, _rewire, _initialiser, _output, _extra))(model, rng)
    return bytes(model.SerializeToString())


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    attribute = rng.choice(list(rng.choice(nodes).attribute))
    value = rng.choice([i for i in INTEGERS if -(2**63) <= i < 2**63])
    if attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = value
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = value
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, -1.0, 3e38, float("nan")))


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(list(model.graph.node))
    others = [other.op_type for other in model.graph.node]
    node.op_type = rng.choice((*OPERATORS, *others))
    if rng.random() < 0.1:
        node.domain = "com.microsoft"


def _rewire(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(list(model.graph.node))
    if not node.input:
        return
    names = [name for other in model.graph.node for name in other.output]
    names += [tensor.name for tensor in model.graph.initializer]
    node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "features", "image"])


def _initialiser(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(list(model.graph.initializer))
    kind = rng.randrange(5)
    if kind == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, 1, 7, -1, 2**31, 2**62))
    elif kind == 1:
        tensor.data_type = rng.randrange(24)
    elif kind == 2:
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", rng.choice(("manifest.json", "/etc/passwd", "../x"))
        tensor.ClearField("raw_data")
    elif kind == 3:
        try:
            values = mutated_array(onnx.numpy_helper.to_array(tensor), rng)
        except (ValueError, TypeError):  # it was mutated before
            return
        if values.dtype.kind in "fiu":
            native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
            tensor.CopyFrom(onnx.numpy_helper.from_array(native, tensor.name))
    else:
        tensor.raw_data = mutated_bytes(tensor.raw_data, rng)


def _output(model: onnx.ModelProto, rng: random.Random) -> None:
    """Puts an operator behind an output, so that it has another type, shape or value."""
    output = rng.choice(list(model.graph.output))
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == output.name:
                node.output[place] = "before"
    kind = rng.randrange(4)
    if kind == 0:
        last = helper.make_node("Cast", ["before"], [output.name], to=rng.choice((2, 6, 7, 10, 11)))
    elif kind == 1:
        last = helper.make_node("Flatten", ["before"], [output.name], axis=rng.randrange(4))
    elif kind == 2:
        last = helper.make_node(
            "Concat", ["before"] * rng.choice((2, 9, 99)), [output.name], axis=1
        )
    else:
        last = helper.make_node("ReduceMax", ["before"], [output.name], keepdims=rng.randrange(2))
    model.graph.node.append(last)
    if rng.random() < 0.7:
        output.type.tensor_type.ClearField("shape")


def _extra(model: onnx.ModelProto, rng: random.Random) -> None:
    """Puts an operator before the graph's first that asks for much."""
    size = rng.choice((2**20, 2**30, 2**33, 2**40))
    shape = onnx.numpy_helper.from_array(np.array([size], np.int64), "wanted")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["wanted"], ["much"]))
    node = rng.choice(list(model.graph.node)[1:])
    if node.input and rng.random() < 0.5:
        node.input[rng.randrange(len(node.input))] = "much"
