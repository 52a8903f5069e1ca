"""mlps.npz: read back as it was written; damaged or foreign ones are refused, not computed with."""

import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Bundle, BundleError, Upscaler
from pcsr.bundle import MANIFEST
from pcsr.export.graphs.folding import fold_classifier, fold_upsamplers, mlp_arrays
from pcsr.runtime.mlps import MlpWeights, load_mlps
from tests import checkpoints

from .networks import mlp_arrays as random_arrays

Arrays = dict[str, NDArray[np.generic]]
Change = Callable[[Arrays], object]
FILE = Path("fp32") / "mlps.npz"


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))


@pytest.fixture
def without_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph is loaded: the weights are refused without one."""
    monkeypatch.setattr("pcsr.runtime.cpu.upscaler.open_fastest", lambda *_: (None, ()))


def write(bundle: Path, data: bytes) -> None:
    """Another mlps.npz, with its hash in the manifest."""
    (bundle / FILE).write_bytes(data)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["mlps"]["sha256"] = hashlib.sha256(data).hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def packed(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types keywords as its own options
    return file.getvalue()


def unpacked(bundle: Path) -> Arrays:
    with np.load(bundle / FILE) as file:
        return dict(file)


def refuse(bundle: Path, pattern: str = "the weights of the upsamplers cannot be read") -> None:
    with pytest.raises(BundleError, match=pattern):
        Upscaler(bundle)


# Reading


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("carn_like_bundle", ["classifier", "upsampler_0", "upsampler_1"]),
        ("three_way_bundle", ["classifier", "upsampler_0", "upsampler_1", "upsampler_2"]),
        ("single_bundle", ["upsampler_0"]),
    ],
)
def test_roles_are_in_the_order_of_the_upsamplers(
    name: str, roles: list[str], request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(name)
    mlps = load_mlps(Bundle.load(path))
    assert list(mlps) == roles
    outputs = dict.fromkeys(roles, 3) | {"classifier": 1 if len(roles) == 3 else 3}
    for role, mlp in mlps.items():
        assert mlp.outputs == outputs[role]


def test_the_file_holds_the_folded_weights_of_the_network(carn_like_bundle: Path) -> None:
    network = checkpoints.pcsr_network("carn", 2)
    folded = [fold_classifier(network), *fold_upsamplers(network)]
    mlps = load_mlps(Bundle.load(carn_like_bundle))
    for mlp, source in zip(mlps.values(), folded, strict=True):
        with torch.no_grad():
            arrays = mlp_arrays(source)
        assert np.array_equal(mlp.feature_weight, arrays["feature_weight"])
        assert np.array_equal(mlp.row_weight, source.offset_weight[0].numpy())
        assert np.array_equal(mlp.column_weight, source.offset_weight[1].numpy())
        assert np.array_equal(mlp.cell_weight, source.cell_weight.numpy().T)
        assert np.array_equal(mlp.bias, source.bias.numpy())
        last = max(int(key.removeprefix("bias_")) for key in arrays if key.startswith("bias_"))
        assert np.array_equal(mlp.rest[-mlp.outputs :], arrays[f"bias_{last}"])


def test_a_plain_network_has_no_such_file(plain_bundle: Path) -> None:
    assert not (plain_bundle / FILE).exists()
    upscaler = Upscaler(plain_bundle)
    with pytest.raises(BundleError, match="plain network without upsamplers"):
        upscaler.bundle.mlp_bytes()


@pytest.mark.parametrize("widths", [[3], [5, 3], [7, 6, 1], [1, 1, 1, 1]])
def test_widths_are_those_of_the_layers(widths: list[int]) -> None:
    mlp = MlpWeights.of(random_arrays(4, widths))
    assert mlp.widths.tolist() == widths
    assert mlp.outputs == widths[-1]
    sizes = [(inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths)]
    assert mlp.rest.size == sum(sizes)


def test_layers_follow_one_another_each_with_its_bias() -> None:
    arrays = random_arrays(2, [3, 2, 1])
    expected = [arrays[f"{what}_{n}"].ravel() for n in (1, 2) for what in ("weight", "bias")]
    assert np.array_equal(MlpWeights.of(arrays).rest, np.concatenate(expected))


# The file as a whole


def test_missing(bundle: Path) -> None:
    (bundle / FILE).unlink()
    refuse(bundle, "mlps.npz cannot be read .*export the bundle again")


def test_flipped_byte(bundle: Path) -> None:
    data = bytearray((bundle / FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / FILE).write_bytes(data)
    refuse(bundle, "mlps.npz is damaged: sha256 .*export the bundle again")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_cut_short(share: float, bundle: Path) -> None:
    data = (bundle / FILE).read_bytes()
    (bundle / FILE).write_bytes(data[: int(share * len(data))])
    refuse(bundle, "mlps.npz is damaged: sha256 .*export the bundle again")


def test_the_other_backend_needs_no_such_file(bundle: Path) -> None:
    (bundle / FILE).unlink()
    image = np.zeros((3, 4, 3), np.uint8)
    assert Upscaler(bundle, backend="onnxruntime")(image).image.shape == (12, 16, 3)


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"no weights",
    "half": lambda data: data[: len(data) // 2],
    "zip-of-nothing": lambda _: b"PK\x05\x06" + bytes(18),
    "one-array": lambda _: _npy(np.zeros(3, np.float32)),
    "pickle": lambda _: packed({"upsampler_0.bias": np.array([{}, None], dtype=object)}),
}


def _npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.usefixtures("without_sessions")
def test_a_foreign_file_with_the_right_hash(case: str, bundle: Path) -> None:
    write(bundle, FOREIGN[case]((bundle / FILE).read_bytes()))
    refuse(bundle)


# Its arrays


def _set(name: str, value: object) -> Change:
    return lambda arrays: arrays.update({name: np.asarray(value)})


def _drop(prefix: str) -> Change:
    return lambda arrays: [arrays.pop(name) for name in [*arrays] if name.startswith(prefix)]


def _cut(name: str) -> Change:
    return lambda arrays: arrays.update({name: arrays[name][..., :-1]})


def _spoil(name: str, value: float) -> Change:
    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[-1] = value

    return change


def _rename(old: str, new: str) -> Change:
    def change(arrays: Arrays) -> None:
        renamed = [(name.replace(old, new), array) for name, array in arrays.items()]
        arrays.clear()
        arrays.update(renamed)

    return change


PARTS = ["feature_weight", "row_weight", "column_weight", "cell_weight", "bias"]
SHAPES: dict[str, Change] = {
    **{f"no-{part}": _drop(f"upsampler_0.{part}") for part in PARTS},
    **{f"cut-{part}": _cut(f"upsampler_0.{part}") for part in PARTS},
    "cut-weight": _cut("upsampler_0.weight_1"),
    "cut-last-weight": _cut("upsampler_0.weight_2"),
    "cut-last-bias": _cut("upsampler_0.bias_2"),
    "no-last-bias": _drop("upsampler_0.bias_2"),
    "no-layer-between": _drop("upsampler_0.weight_1"),
    "a-number-for-a-bias": _set("upsampler_0.bias", np.float32(1)),
    "a-flat-weight": _set("upsampler_0.weight_1", np.zeros(256, np.float32)),
    "text": _set("upsampler_0.row_weight", ["a"] * 16),
    "four-outputs": _set("upsampler_0.weight_2", np.zeros((4, 16), np.float32)),
    "two-logits": lambda arrays: arrays.update(
        {
            "classifier.weight_1": np.zeros((2, 6), np.float32),
            "classifier.bias_1": np.zeros(2, np.float32),
        }
    ),
}
ROLES: dict[str, Change] = {
    "nothing": lambda arrays: arrays.clear(),
    "no-classifier": _drop("classifier."),
    "no-upsampler-1": _drop("upsampler_1."),
    "another-role": _rename("upsampler_1", "upsampler_7"),
    "a-name-without-role": _set("bias", np.zeros(3, np.float32)),
}
NUMBERS: dict[str, Change] = {
    f"{value}-in-{name}": _spoil(name, value)
    for value in (np.nan, np.inf)
    for name in ("upsampler_1.feature_weight", "classifier.bias", "upsampler_0.bias_2")
}
DAMAGES = SHAPES | ROLES | NUMBERS


@pytest.mark.parametrize("case", DAMAGES)
@pytest.mark.usefixtures("without_sessions")
def test_arrays_that_do_not_fit_the_network(case: str, bundle: Path) -> None:
    arrays = unpacked(bundle)
    DAMAGES[case](arrays)
    write(bundle, packed(arrays))
    refuse(bundle)


def test_the_order_of_the_arrays_does_not_matter(bundle: Path) -> None:
    image = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    expected = Upscaler(bundle)(image).image
    write(bundle, packed(dict(sorted(unpacked(bundle).items(), reverse=True))))
    assert np.array_equal(Upscaler(bundle)(image).image, expected)


def test_pairs_are_weights_rounded_to_bfloat16_with_ties_to_even() -> None:
    above, tie, odd_tie = 1 + 2**-8 + 2**-16, 1 + 2**-8, 1 + 3 * 2**-8
    arrays = {
        "feature_weight": np.array([[1, -2, 3]], np.float32),
        "row_weight": np.zeros(1, np.float32),
        "column_weight": np.zeros(1, np.float32),
        "cell_weight": np.zeros((1, 2), np.float32),
        "bias": np.zeros(1, np.float32),
        "weight_1": np.array([[above], [tie], [odd_tie]], np.float32),
        "bias_1": np.array([0, above, -1], np.float32),
    }
    mlp = MlpWeights.of(arrays)
    assert [hex(pair) for pair in mlp.feature_pairs] == ["0xc0003f80", "0x4040"]
    assert [hex(pair) for pair in mlp.pairs[:3]] == ["0x3f81", "0x3f80", "0x3f82"]
    assert np.array_equal(mlp.pairs[3:].view(np.float32), arrays["bias_1"])
    assert mlp.pairs is mlp.pairs
