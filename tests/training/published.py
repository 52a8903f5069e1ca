"""The nine training files of the published code, as facts: `config(name)` gives the keys of one."""

from typing import Any

AUGMENT = ["hflip", "vflip", "dflip"]
NAMES = [
    f"{backbone}-{run}"
    for backbone in ("carn", "fsrcnn", "srresnet")
    for run in ("pcsr-phase0", "pcsr-phase1", "x4")
]
RATES = {"carn": 2e-4, "fsrcnn": 1e-3, "srresnet": 2e-4}
MEANS = {"carn": [0.4488, 0.4371, 0.4040]}
ENCODERS: dict[str, dict[str, Any]] = {
    "carn": {"nf": 52},
    "fsrcnn": {"d": 48},
    "srresnet": {"nf": 58},
}
PLAIN: dict[str, dict[str, Any]] = {
    "carn": {"scale": 4, "nf": 64},
    "fsrcnn": {"upscale": 4, "d": 56},
    "srresnet": {"upscale": 4, "nf": 64},
}
WIDTHS: dict[str, dict[str, list[int]]] = {
    "carn": {"heavy": [74] * 4, "light": [20] * 3, "classifier": [10] * 2},
    "fsrcnn": {"heavy": [58] * 4, "light": [10] * 3, "classifier": []},
    "srresnet": {"heavy": [170] * 4, "light": [40] * 3, "classifier": [20] * 2},
}


def config(name: str) -> dict[str, Any]:
    """All keys of one of the nine files; paths are those of the published README."""
    backbone, _, run = name.partition("-")
    plain = run == "x4"
    length = 500_000 if run == "pcsr-phase1" else 2_000_000
    period = {"T_period": [length], "restarts": [length], "weights": [1], "eta_min": 1e-7}
    keys: dict[str, Any] = {"scale": 4} if plain else {"phase": int(run[-1])}
    keys |= _paired() if plain else _downsampled()
    keys |= {
        "psnr_type": "rgb",
        "patch_size": 32,
        "step": 28,
        "data_norm": {"mean": MEANS.get(backbone, [0.0] * 3), "std": [1.0] * 3},
        "model": _model(backbone, run),
        "optimizer": {
            "name": "adam",
            "args": {"lr": RATES[backbone], "betas": [0.9, 0.99], "weight_decay": 0},
        },
        "lr_scheduler": {"name": "CosineAnnealingLR_Restart", "args": period},
        "iter_max": length,
        "iter_print": 1000 if run == "pcsr-phase1" else 4000,
        "iter_val": length // 5 if run == "pcsr-phase1" else length // 10,
        "iter_save": length // 5,
    }
    return keys | ({"loss_rgb_w": 1000, "loss_avg_w": 3} if run == "pcsr-phase1" else {})


def _downsampled() -> dict[str, Any]:
    def part(root: str | None, **wrapper: object) -> dict[str, Any]:
        return {
            "dataset": {"name": "image-folder", "args": {"root_path": root}},
            "wrapper": {"name": "sr-implicit-downsampled", "args": wrapper},
        }

    train = part("DIV2K/HR_aug_sub128", inp_size=32, scale=[4, 4], augment=AUGMENT)
    return {
        "train_dataset": {**train, "batch_size": 16, "num_workers": 4},
        "valid_dataset": {**part("valid/HR", scale=None), "scales": [4]},
        "test_dataset": part(None, scale=None),
    }


def _paired() -> dict[str, Any]:
    def part(hr: str | None, lr: str | None, augment: list[str] | None) -> dict[str, Any]:
        roots = {"root_path_hr": hr, "root_path_lr": lr}
        return {
            "dataset": {"name": "paired-image-folders", "args": roots},
            "wrapper": {"name": "sr-implicit-paired", "args": {"augment": augment}},
        }

    train = part("Aug_sub/HR/X4", "Aug_sub/LR_bicubic/X4", AUGMENT)
    return {
        "train_dataset": {**train, "batch_size": 16, "num_workers": 4},
        "valid_dataset": part("valid/HR", "valid/LR_bicubic/X4", None),
        "test_dataset": part(None, None, None),
    }


def _model(backbone: str, run: str) -> dict[str, Any]:
    if run == "x4":
        return {"name": backbone, "args": {**PLAIN[backbone], "no_upsampling": False}}
    encoder = {"name": backbone, "args": {**ENCODERS[backbone], "no_upsampling": True}}
    heads = ("heavy",) if run == "pcsr-phase0" else ("heavy", "light", "classifier")
    names = {"heavy": "heavy_sampler", "light": "light_sampler", "classifier": "classifier"}
    specs = {f"{names[head]}_spec": _mlp(WIDTHS[backbone][head]) for head in heads}
    return {"name": run, "args": {"encoder_spec": encoder, **specs}}


def _mlp(widths: list[int]) -> dict[str, Any]:
    imnet = {"name": "mlp", "args": {"hidden_list": widths}}
    return {"name": "liif-sampler", "args": {"imnet_spec": imnet}}
