"""Configs: published keys, defaults, overrides, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pcsr import CheckpointError, UsageError
from pcsr.export.network import read_config
from pcsr.training.config import load_config, named
from pcsr.training.distillation.student import StudentStage
from pcsr.training.stages import stage_network
from tests.checkpoints import liif_checkpoint, save
from tests.training import tiny

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
TAUGHT = CONFIGS / "liif-pcsr.yaml"
SHIPPED = sorted(set(CONFIGS.glob("*.yaml")) - {TAUGHT})


def test_published_weights_are_the_defaults(tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    assert (config.reconstruction_weight, config.average_weight) == (1000, 3)
    assert (config.optimizer, config.betas) == ("adam", (0.9, 0.99))
    assert config.least_learning_rate == 1e-7
    assert config.data.augment == ("hflip", "vflip", "dflip")


def test_overrides_replace_nested_keys(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "train_dataset.batch_size=5", "data_norm.mean=[0.1,0.2,0.3]")
    assert config.data.batch == 5
    assert config.mean == (0.1, 0.2, 0.3)


def test_overrides_replace_one_argument_of_the_network(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, "model.args.encoder_spec.args.d=7")
    assert config.network.backbone_args == {"d": 7, "s": 4, "m": 1, "no_upsampling": True}
    assert [u.widths for u in config.network.upsamplers] == [(8, 8), (4,)]


def test_the_backbones_own_normalisation_is_the_default(tmp_path: Path) -> None:
    assert tiny.config(tmp_path).mean == (0, 0, 0)
    carn = tiny.config(tmp_path, 2, "model.args.encoder_spec.name=carn")
    assert carn.mean == (0.4488, 0.4371, 0.4040)
    assert carn.std == (1, 1, 1)


def test_an_unknown_backbone_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unknown backbone 'vgg'"):
        tiny.config(tmp_path, 2, "model.args.encoder_spec.name=vgg")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("iter_mx=5", "unknown key 'iter_mx'"),
        ("train_dataset.batchsize=5", r"unknown key 'train_dataset\.batchsize'"),
        ("seed", "expects key=value"),
        ("train_dataset=5", "train_dataset must hold keys"),
        ("iter_max=0", "iter_max must be positive"),
        ("optimizer.args.betas=[1]", "wrong form"),
        ("loss_chroma_iter=.inf", "wrong form"),
        ("train_dataset.wrapper.args.augment=[spin]", "unknown augment spin"),
        ("train_dataset.wrapper.args.sample_margin=4", "must leave a part of the patch of 8 px"),
        ("train_dataset.wrapper.args.sample_margin=-1", "sample_margin must leave"),
        ("loss_chroma_iter=-1", "loss_chroma_iter must be at least 0"),
        ("optimizer.name=sgd", r"unknown optimizer sgd \(known: adam, soap, muon\)"),
        ("data_norm.mean=[0.4]", "three numbers"),
        ("data_norm.mean=[.nan,0,0]", "must be finite"),
        ("data_norm.std=[1,0,1]", "std must be positive"),
        ("model.args=5", "not complete"),
        ("optimizer.args.betas=[0.9,1.0]", r"betas must be below 1, found 1\.0"),
        ("optimizer.args.betas=[-0.1,0.9]", "betas must be at least 0"),
        ("optimizer.args.betas=[.nan,0.9]", "betas must be at least 0, found nan"),
        ("optimizer.args.lr=.nan", "lr must be positive, found nan"),
        ("optimizer.args.lr=.inf", "lr must be positive, found inf"),
        ("optimizer.args.weight_decay=-1", "weight_decay must be at least 0"),
        ("lr_scheduler.args.eta_min=.nan", "eta_min must be at least 0"),
        ("train_dataset.batch_size=-1", "batch_size must be positive"),
        ("train_dataset.batch_size=1000000000", "a batch of 1000000000 patches"),
        ("train_dataset.wrapper.args.inp_size=1000000000", "a batch of 2 patches"),
        ("train_dataset.wrapper.args.scale=[1,.inf]", "scale must be at most 64"),
        ("train_dataset.wrapper.args.sample_q=-1", "sample_q must be at least 0"),
        ("train_dataset.num_workers=-1", "num_workers must be at least 0"),
        ("loss_rgb_w=.nan", "loss_rgb_w must be at least 0"),
        ("seed=-1", "seed must be at least 0"),
        ("seed=99999999999999999999", r"less than 2\^63"),
        (f"seed={'9' * 5000}", "--set seed: Exceeds the limit"),
        ("seed=[", "--set seed: it is not YAML"),
        ("iter_max=1000000000000000", "iter_max must be at most"),
        ("data_norm.mean='123'", "three numbers"),
        ("model.name=3", "its name is 3, expected text"),
        ("train_dataset.dataset.args.root_path=''", "root_path is not set"),
    ],
)
def test_nonsense_is_named(override: str, message: str, tmp_path: Path) -> None:
    tiny.config(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_config(tmp_path / "config.yaml", [override])


@pytest.mark.parametrize("text", ["- a list", "a: [", "just text"])
def test_files_that_are_no_config(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config .*config\.yaml"):
        load_config(file)


ALIASES = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "aliases": (f"a0: &a0 [x]\n{ALIASES}data_norm: {{mean: *a11}}".encode(), "more than 20,000"),
    "merges": (f"a0: &a0 {{k: 1}}\n{MERGES}".encode(), "more than 20,000"),
    "itself": (b"data_norm:\n  mean: &m [*m, 1, 2]", "an alias refers to what holds it"),
    "deep": (b"[" * 20_000, "nested more than 40 deep"),
    "utf-16": ("seed: 1".encode("utf-16"), "not UTF-8 text"),
    "nul": (b"seed: 1\0", "not YAML"),
    "integer": (b"seed: 0x" + b"f" * 5000, "less than 2^63"),
    "date": (b"seed: 2001-01-01", "is a date"),
    "code": (b"!!python/object/apply:os.system [exit]", "not YAML"),
    "large": (b"#" * 300_000, "expected at most 262,144"),
    "empty": (b"", "holds no keys|expected keys"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("read", [load_config, read_config], ids=["train", "export"])
def test_hostile_files_are_refused_in_one_line(
    read: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    content, message = HOSTILE[kind]
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=message.replace("^", r"\^")) as refusal:
        read(tmp_path / "config.yaml")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(UsageError, match="named pipe"):
        load_config(tmp_path / "config.yaml")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    tiny.config(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_config(file).seed == 0


@pytest.mark.parametrize(
    "override",
    [
        "model.args.encoder_spec.args.d=1000000000",
        "model.args.encoder_spec.args.m=1000000000",
        "model.args.heavy_sampler_spec.args.imnet_spec.args.hidden_list=[1000000000]",
    ],
)
def test_networks_without_bound_are_not_built(override: str, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, 2, override)
    with pytest.raises(CheckpointError, match=r"far larger than any|memory"):
        stage_network(config, 0, None)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_describe_networks_that_can_be_built(path: Path) -> None:
    folders = [f"{part}_dataset.dataset.args.root_path=photos" for part in ("train", "valid")]
    config = load_config(path, folders)
    network = stage_network(config, 0, None)
    assert network.model()["name"] in ("pcsr-phase0", "imdn")


def test_the_shipped_config_with_a_teacher_can_be_built(tmp_path: Path) -> None:
    teacher = save(liif_checkpoint(), tmp_path / "teacher.pth")
    config = load_config(TAUGHT, named(teacher, None))
    assert config.network.backbone == "extended"
    assert config.network.backbone_args["encoder"]["name"] == "edsr-baseline"
    assert (config.mean, config.std) == ((0.5,) * 3, (0.5,) * 3)
    assert config.distillation is not None
    assert StudentStage(config, config.distillation, 0, None).model()["name"] == "pcsr-phase1"


def test_images_and_teacher_are_named_whatever_their_names_hold(tmp_path: Path) -> None:
    odd = tmp_path / 'a: "b" #c'
    odd.mkdir()
    teacher = save(liif_checkpoint(), odd / "t.pth")
    config = load_config(TAUGHT, named(teacher, odd))
    assert config.data.photos == odd
    assert config.distillation is not None
    assert config.distillation.teacher == teacher


@pytest.mark.parametrize(
    ("backbone", "heavy", "light", "classifier", "rate"),
    [
        ("fsrcnn", (58,) * 4, (10,) * 3, (), 1e-3),
        ("carn", (74,) * 4, (20,) * 3, (10, 10), 2e-4),
        ("srresnet", (170,) * 4, (40,) * 3, (20, 20), 2e-4),
    ],
)
def test_the_published_runs(
    backbone: str,
    heavy: tuple[int, ...],
    light: tuple[int, ...],
    classifier: tuple[int, ...],
    rate: float,
) -> None:
    folders = [f"{part}_dataset.dataset.args.root_path=photos" for part in ("train", "valid")]
    config = load_config(CONFIGS / f"{backbone}-pcsr-x4-div2k.yaml", folders)
    assert [u.widths for u in config.network.upsamplers] == [heavy, light]
    assert config.network.classifier_widths == classifier
    assert config.learning_rate == rate
    assert (config.data.patch_px, config.data.batch) == ((32,), 16)
    assert config.data.augment == ("hflip", "vflip", "dflip")
