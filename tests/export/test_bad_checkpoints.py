"""pcsr-export refuses what is no good checkpoint: one line, exit code 2, nothing run or written."""

import copy
import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.checkpoints import Data
from tests.commands import assert_refused, export, snapshot

Change = Callable[[Data], Any]


def network() -> Data:
    """A good checkpoint, free to be spoilt."""
    return copy.deepcopy(checkpoints.pcsr_checkpoint(checkpoints.pcsr_network("fsrcnn"), "fsrcnn"))


def plain() -> Data:
    return copy.deepcopy(checkpoints.plain_checkpoint("fsrcnn"))


def refuse(ckpt: Path, pattern: str, code: int = 2) -> None:
    before = snapshot(ckpt.parent)
    assert_refused(export("--ckpt", ckpt, "-o", ckpt.parent / "bundle"), code, pattern)
    assert snapshot(ckpt.parent) == before


def refuse_data(data: Any, folder: Path, pattern: str) -> None:  # noqa: ANN401
    refuse(checkpoints.save(data, folder / "network.pth"), pattern)


def encoder(data: Data) -> Data:
    spec: Data = data["model"]["args"]["encoder_spec"]
    return spec


def heavy(data: Data) -> Data:
    mlp: Data = data["model"]["args"]["heavy_sampler_spec"]["args"]["imnet_spec"]["args"]
    return mlp


def weights(data: Data) -> dict[str, torch.Tensor]:
    sd: dict[str, torch.Tensor] = data["model"]["sd"]
    return sd


# Files


def test_missing_file(tmp_path: Path) -> None:
    refuse(tmp_path / "none.pth", "none.pth does not exist")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    refuse(tmp_path / "folder.pth", "folder.pth .*director")


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"just text\n" * 50, b"\x80\x04", b"{}", b"PK\3\4"]
)
def test_other_files(content: bytes, tmp_path: Path) -> None:
    ckpt = tmp_path / "other.pth"
    ckpt.write_bytes(content)
    refuse(ckpt, "other.pth is not a PyTorch checkpoint")


KINDS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "gzip": (gzip.compress(b"weights"), "gunzip"),
    "web page": (b"<!DOCTYPE html><html>not found</html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "onnx": (b"\x08\x0a\x12\x07pytorch", "ONNX model"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "pickle": (pickle.dumps({"model": 1}, protocol=2), "torch.save did not write"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_other_kinds_are_named(kind: str, tmp_path: Path) -> None:
    content, what = KINDS[kind]
    (tmp_path / "other.pth").write_bytes(content)
    refuse(tmp_path / "other.pth", f"other.pth is not a PyTorch checkpoint: .*{what}")


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert_refused(export("--ckpt", tmp_path / "pipe.pth", "-o", tmp_path / "b"), 2, "named pipe")


def test_a_bundle_by_mistake(plain_bundle: Path, tmp_path: Path) -> None:
    refused = export("--ckpt", plain_bundle, "-o", tmp_path / "b")
    assert_refused(refused, 2, "is a bundle.*pass the checkpoint")


def test_an_archive_that_unpacks_to_gigabytes(pcsr_ckpt: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(pcsr_ckpt) as whole, zipfile.ZipFile(tmp_path / "b.pth", "w") as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
        for number in range(6):
            bomb.writestr(f"x/{number}", bytes(10**8), compress_type=zipfile.ZIP_DEFLATED)
    refuse(tmp_path / "b.pth", "unpacks to 6[0-9,]* bytes")


PICKLES: dict[str, bytes] = {
    "tuples within tuples": b"}" + b")" + b"\x85" * 200_000 + b"Ns.",  # its hash: stack overflow
    "bytes without end": b"c__builtin__\nbytearray\n\x8a\x05\0\0\0\0\x04\x85R.",
    "lists within lists": b"]" * 300_000 + b"a" * 299_999 + b".",
    "a far memo": b"}r\xff\xff\xff\x7f.",
}


@pytest.mark.parametrize("kind", PICKLES)
def test_pickles_made_to_exhaust(kind: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + PICKLES[kind])
        archive.writestr("archive/version", "3\n")
    refuse(tmp_path / "evil.pth", "evil.pth (holds|is not|does not)")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_file(share: float, pcsr_ckpt: Path, tmp_path: Path) -> None:
    whole = pcsr_ckpt.read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: int(share * len(whole))])
    refuse(tmp_path / "cut.pth", "cut.pth is not a PyTorch checkpoint, or is (truncated|damaged)")


def test_zip_without_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.pth", "w") as archive:
        archive.writestr("readme.txt", "no weights here")
    refuse(tmp_path / "archive.pth", "archive.pth is not a PyTorch checkpoint")


def test_zip_that_lost_its_tensors(pcsr_ckpt: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(pcsr_ckpt) as whole, zipfile.ZipFile(tmp_path / "lost.pth", "w") as lost:
        for name in whole.namelist():
            if "/data/" not in name:
                lost.writestr(name, whole.read(name))
    refuse(tmp_path / "lost.pth", "lost.pth is not a PyTorch checkpoint")


# Code


class Payload:
    """Runs a shell command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle_is_not_run(form: str, tmp_path: Path) -> None:
    marker, ckpt = tmp_path / "it-ran", tmp_path / "evil.pth"
    data = {"model": Payload(f"touch {marker}")}
    pickle.loads(pickle.dumps(data))
    assert marker.exists(), "the payload is live"
    marker.unlink()
    if form == "pickle":
        ckpt.write_bytes(pickle.dumps(data, protocol=2))
    else:
        torch.save(data, ckpt, _use_new_zipfile_serialization=form == "zip")
    refuse(ckpt, r"evil.pth .*(call|run|code).* \w+\.system")
    assert not marker.exists()


def test_modern_pickle_with_code_is_refused_without_noise(tmp_path: Path) -> None:
    marker, ckpt = tmp_path / "it-ran", tmp_path / "evil.pth"
    ckpt.write_bytes(pickle.dumps({"model": Payload(f"touch {marker}")}, protocol=4))
    refuse(ckpt, "evil.pth ")
    assert not marker.exists()


def test_whole_modules_are_not_unpickled(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    refuse(tmp_path / "module.pth", "more than weights.*torch.nn.modules.linear.Linear")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_script_archives_are_refused_without_noise(tmp_path: Path) -> None:
    script = torch.jit.trace(torch.nn.Linear(2, 2), torch.rand(1, 2))  # type: ignore[no-untyped-call]
    script.save(str(tmp_path / "script.pth"))
    refuse(tmp_path / "script.pth", "script.pth is not a PyTorch checkpoint")


# Descriptions


def with_itself() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


def without_end() -> list[Any]:
    values: list[Any] = [1]
    for _ in range(60):
        values = [values, values]
    return values


WRAPPED: dict[str, tuple[str, Data]] = {
    "lightning": ("Lightning", {"pytorch-lightning_version": "2.0", "state_dict": {}}),
    "basicsr": (r"BasicSR \(params_ema\)", {"params_ema": {}, "params": {}}),
    "state_dict": ("with a state_dict", {"state_dict": {}, "epoch": 1}),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_checkpoints_of_other_trainers_are_named(kind: str, tmp_path: Path) -> None:
    found, data = WRAPPED[kind]
    refuse_data(data, tmp_path, f"does not describe its network: .*found .*{found}.*training.md")


@pytest.mark.parametrize(
    "data",
    [torch.zeros(3), [1, 2], {}, {"sd": {}}, {"model": {"name": "carn"}}, {"model": 3}],
    ids=["tensor", "list", "empty", "no-model", "no-sd", "number"],
)
def test_no_description(data: Any, tmp_path: Path) -> None:  # noqa: ANN401
    refuse_data(data, tmp_path, "network.pth does not describe its network: expected .* found")


def test_state_dict_of_an_unknown_network_alone(tmp_path: Path) -> None:
    state = {**weights(network()), "more.weight": torch.ones(1)}
    refuse_data(
        state, tmp_path, r"does not describe its network: .* weights \(encoder.*training.md"
    )


def test_weights_with_names_that_are_no_text_to_show(tmp_path: Path) -> None:
    state = {"a\n\x1b[2Jb" * 99: torch.ones(1), "\u2028": torch.ones(1)}
    refuse_data({"x\n" * 99: {"y" * 99: {"z\n" * 99: state}}}, tmp_path, "found .* 2 weights")


def test_weights_alone_that_are_not_finite(tmp_path: Path) -> None:
    data = network()
    spoil(float("nan"))(data)
    refuse_data({"params": weights(data)}, tmp_path, f"{FIRST} holds 1 NaN")


DESCRIPTIONS: dict[str, tuple[str, Change]] = {
    "phase9": ("pcsr-phase9.*known", lambda d: d["model"].update(name="pcsr-phase9")),
    "unknown": (
        "network.pth: unknown backbone 'swin'.*known: ",
        lambda d: encoder(d).update(name="swin"),
    ),
    "name-none": ("name|backbone", lambda d: d["model"].update(name=None)),
    "args-none": ("args is None, expected a dict", lambda d: d["model"].update(args=None)),
    "args-list": ("args is .*, expected a dict", lambda d: d["model"].update(args=[1])),
    "no-encoder": ("encoder_spec", lambda d: d["model"]["args"].pop("encoder_spec")),
    "no-classifier": ("classifier_spec", lambda d: d["model"]["args"].pop("classifier_spec")),
    "no-light": ("light_sampler_spec", lambda d: d["model"]["args"].pop("light_sampler_spec")),
    "foreign-arg": ("'fsrcnn' .*zzz", lambda d: encoder(d).update(args={"zzz": 1})),
    "no-names": ("fsrcnn|description", lambda d: encoder(d).update(args={1: 1})),
    "negative": ("'fsrcnn'.*-1", lambda d: encoder(d)["args"].update(d=-1)),
    "zero": ("'fsrcnn'", lambda d: encoder(d)["args"].update(d=0)),
    "text": ("'fsrcnn'", lambda d: encoder(d)["args"].update(d="eight")),
    "own-tail": ("own upsampling tail", lambda d: encoder(d)["args"].update(no_upsampling=False)),
    "no-hidden": ("description|weights", lambda d: heavy(d).update(hidden_list=None)),
    "zero-hidden": ("hidden_list.*below 1", lambda d: heavy(d).update(hidden_list=[0])),
    "huge-hidden": ("memory|weights", lambda d: heavy(d).update(hidden_list=[10**12])),
    "hidden-inf": ("hidden_list holds inf", lambda d: heavy(d).update(hidden_list=[1e999])),
    "hidden-2^63": ("less than 2\\^63", lambda d: heavy(d).update(hidden_list=[2**63])),
    "hidden-tensor": ("a Tensor", lambda d: heavy(d).update(hidden_list=[torch.tensor(4)])),
    "hidden-text": ("hidden_list holds '3'", lambda d: heavy(d).update(hidden_list=["3"])),
    "hidden-true": ("hidden_list holds True", lambda d: heavy(d).update(hidden_list=[True])),
    "hidden-long": ("far larger", lambda d: heavy(d).update(hidden_list=[1] * 10_000)),
    "wide": ("memory|far larger", lambda d: encoder(d)["args"].update(d=10**9)),
    "many": ("far larger than its weights", lambda d: encoder(d)["args"].update(m=10**9)),
    "fraction": ("'fsrcnn'", lambda d: encoder(d)["args"].update(m=2.5)),
    "nan": ("not JSON compliant", lambda d: encoder(d)["args"].update(d=float("nan"))),
    "tensor": ("a Tensor", lambda d: encoder(d)["args"].update(d=torch.tensor(8))),
    "itself": ("nested more than", lambda d: encoder(d).update(args={"d": with_itself()})),
    "shared": ("more than|nested", lambda d: encoder(d).update(args={"d": without_end()})),
    "norm": ("data_norm", lambda d: d.update(data_norm={"mean": without_end()})),
    "norm-text": ("three numbers", lambda d: d.update(data_norm={"mean": "123"})),
    "scale": ("scale", lambda d: d.update(scale=torch.tensor(4.0))),
    "residual": ("plain mlp", lambda d: heavy(d).update(residual=True)),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_descriptions_that_do_not_fit(case: str, tmp_path: Path) -> None:
    pattern, change = DESCRIPTIONS[case]
    data = network()
    change(data)
    refuse_data(data, tmp_path, pattern)


@pytest.mark.parametrize(
    ("args", "pattern"),
    [
        ({"no_upsampling": True}, "neither a PCSR network nor a plain one.*no_upsampling"),
        ({"upscale": 0}, "fsrcnn"),
        ({"upscale": -1}, "fsrcnn"),
        ({"zzz": 1}, "'fsrcnn' .*zzz"),
    ],
    ids=["no-tail", "zero", "negative", "foreign"],
)
def test_plain_descriptions_that_do_not_fit(args: Data, pattern: str, tmp_path: Path) -> None:
    data = plain()
    data["model"]["args"].update(args)
    refuse_data(data, tmp_path, pattern)


@pytest.mark.parametrize(
    ("width", "pattern"),
    [
        (4096, "beyond what bundles hold: Relu is more work than a graph"),
        (4104, "beyond what bundles hold: .*expected at most 4096, found 4104"),
    ],
)
def test_layers_too_wide_for_a_bundle(width: int, pattern: str, tmp_path: Path) -> None:
    ckpt = checkpoints.save(checkpoints.liif_checkpoint([width]), tmp_path / "network.pth")
    refuse(ckpt, pattern, code=1)


def test_several_upsamplers_without_a_classifier(tmp_path: Path) -> None:
    data = network()
    args = data["model"]["args"]
    args["sampler_specs"] = [args.pop("heavy_sampler_spec"), args.pop("light_sampler_spec")]
    args.pop("classifier_spec")
    data["model"] |= {
        "name": "pcsr",
        "sd": {name: w for name, w in weights(data).items() if "classifier" not in name},
    }
    refuse_data(data, tmp_path, "classifier")


def test_no_upsamplers_at_all(tmp_path: Path) -> None:
    data = network()
    data["model"]["name"] = "pcsr"
    data["model"]["args"]["sampler_specs"] = []
    refuse_data(data, tmp_path, "sampler_specs|upsampler")


# Weights


def spoil(value: float) -> Change:
    return lambda d: next(iter(weights(d).values())).view(-1)[0].fill_(value)


def convert(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda d: d["model"].update(sd={name: change(w) for name, w in weights(d).items()})


FIRST = "encoder.head_conv.0.weight"
WEIGHTS: dict[str, tuple[str, Change]] = {
    "missing": (f"{FIRST} is missing", lambda d: weights(d).pop(FIRST)),
    "empty": ("is missing", lambda d: weights(d).clear()),
    "extra": (
        "more.weight is not part",
        lambda d: weights(d).update({"more.weight": torch.ones(1)}),
    ),
    "misshapen": (r"has shape \[2\] instead", lambda d: weights(d).update({FIRST: torch.ones(2)})),
    "prefixed": ("is missing", lambda d: d["model"].update(sd={"module.a": torch.ones(1)})),
    "list": ("state dict of tensors", lambda d: d["model"].update(sd=[1, 2])),
    "text": ("state dict of tensors", lambda d: weights(d).update({FIRST: "a"})),  # type: ignore[dict-item]
    "nan": (f"{FIRST} holds 1 NaN", spoil(float("nan"))),
    "infinite": (f"{FIRST} holds 1 .*infinite", spoil(float("-inf"))),
    "meta": ("weight|tensor", convert(lambda w: w.to("meta"))),
    "float8": ("float8_e4m3fn", convert(lambda w: w.to(torch.float8_e4m3fn))),
    "repeated": ("repeats few values", convert(lambda w: torch.zeros(1).expand(2**31))),
    "overlapping": ("repeats", convert(lambda w: torch.zeros(99).as_strided((50, 50), (1, 1)))),
    "views": (
        "stand for .* bytes",
        lambda d: weights(d).update(dict.fromkeys(map(str, range(99)), torch.zeros(2**20))),
    ),
    "beyond float32": ("NaN or infinite", convert(lambda w: w.double() + 1e60)),
    "bool": ("torch.bool instead", convert(lambda w: w.bool())),
    "nested": ("kind that is not|nested", convert(lambda w: torch.nested.nested_tensor([w]))),
    "keys": ("state dict of tensors", lambda d: weights(d).update({1: torch.ones(1)})),  # type: ignore[dict-item]
    "twice": (
        "twice, with and without",
        lambda d: weights(d).update({f"module.{FIRST}": weights(d)[FIRST]}),
    ),
    "sparse": ("weight|tensor", convert(lambda w: w.to_sparse())),
    "complex": ("weight|tensor", convert(lambda w: w.to(torch.complex64) * 1j)),
}


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.filterwarnings("ignore:.*nested:UserWarning")
def test_weights_that_do_not_fit(case: str, tmp_path: Path) -> None:
    pattern, change = WEIGHTS[case]
    data = network()
    change(data)
    refuse_data(data, tmp_path, f"network.pth.*({pattern})")


def test_weights_that_overflow(tmp_path: Path) -> None:
    data = network()
    for weight in weights(data).values():
        weight.mul_(1e20)
    refuse(checkpoints.save(data, tmp_path / "network.pth"), ".", code=1)
