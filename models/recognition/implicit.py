"""Recognises networks whose tail is an MLP per pixel: LIIF and PCSR."""

import re
from collections.abc import Mapping
from typing import Any

from pcsr.models.pcsr import sampler_names

from .architectures import Described, architecture
from .names import State, below, count
from .network import Recognised

WIDTHS = ("G0", "nf", "d", "n_feats")
MOST_UPSAMPLERS = 64
UNFOLDED = 9  # pixels of a neighbourhood
OFFSET, CELL = 2, 2
ENSEMBLE = "local ensemble (authors' default)"


def liif(state: State) -> Recognised | None:
    """Recognises LIIF: an encoder without upsampling and one MLP for the queries."""
    encoder, widths = _encoder(state), _mlp(below(state, "imnet.layers."), 3)
    if encoder is None or widths is None:
        return None
    if _others(state, ("encoder.", "imnet.layers.")):
        return None
    options = _options(_inputs(state, "imnet."), _features(encoder))
    if options is None:
        return None
    args = {
        "encoder_spec": {"name": encoder[0], "args": encoder[1]},
        "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": widths}},
        "local_ensemble": True,
        **options,
    }
    own = {name: weight for name, weight in state.items() if not _is_shift(name)}
    return Recognised("liif", args, own, assumed=[ENSEMBLE])


def pcsr(state: State) -> Recognised | None:
    """Recognises PCSR with any number of upsamplers."""
    number = count(state, r"(\w*sampler\w*)\.imnet\.layers\.0\.weight")
    if not 0 < number <= MOST_UPSAMPLERS:
        return None
    samplers = sampler_names(number)
    parts = [*samplers, *(["classifier"] if len(samplers) > 1 else [])]
    encoder = _encoder(state)
    if encoder is None or _others(state, ("encoder.", *(f"{p}." for p in parts))):
        return None
    outputs = {part: len(samplers) if part == "classifier" else 3 for part in parts}
    widths = {part: _mlp(below(state, f"{part}.imnet.layers."), outputs[part]) for part in parts}
    if None in widths.values():
        return None
    if {_inputs(state, f"{part}.imnet.") for part in parts} != {_features(encoder) + OFFSET + CELL}:
        return None
    specs = {part: _sampler(widths[part]) for part in parts}
    args: dict[str, Any] = {"encoder_spec": {"name": encoder[0], "args": encoder[1]}}
    args["sampler_specs"] = [specs[part] for part in samplers]
    if "classifier" in specs:
        args["classifier_spec"] = specs["classifier"]
    return Recognised("pcsr", args, state)


def _encoder(state: State) -> Described | None:
    """Describes the backbone of the weights below `encoder.`."""
    inner = {n: weight for n, weight in below(state, "encoder.").items() if not _is_shift(n)}
    found = architecture(inner)
    return found if found is not None and found[1].get("no_upsampling") else None


def _features(encoder: Described) -> int:
    return next(int(encoder[1][key]) for key in WIDTHS if key in encoder[1])


def _mlp(layers: State, outputs: int) -> list[int] | None:
    """Reads the hidden widths of linear layers with ReLU between them; None where they are not."""
    number = count(layers, r"(\d+)\.weight")
    expected = {f"{2 * i}.{kind}" for i in range(number) for kind in ("weight", "bias")}
    if not number or layers.keys() != expected:
        return None
    weights = [layers[f"{2 * i}.weight"] for i in range(number)]
    biases = [layers[f"{2 * i}.bias"] for i in range(number)]
    if any(weight.dim() != 2 for weight in weights):
        return None
    widths = [int(weight.shape[0]) for weight in weights]
    joined = [int(weight.shape[1]) for weight in weights[1:]] == widths[:-1]
    fitting = all(b.shape == (width,) for b, width in zip(biases, widths, strict=True))
    return widths[:-1] if joined and fitting and widths[-1] == outputs else None


def _inputs(state: State, prefix: str) -> int:
    return int(state[f"{prefix}layers.0.weight"].shape[1])


def _options(inputs: int, features: int) -> Mapping[str, bool] | None:
    """Tells feature unfolding and cell decoding by the inputs of the first layer."""
    for unfolded in (True, False):
        for decoded in (True, False):
            width = features * UNFOLDED if unfolded else features
            if inputs == width + OFFSET + (CELL if decoded else 0):
                return {"feat_unfold": unfolded, "cell_decode": decoded}
    return None


def _sampler(widths: list[int] | None) -> dict[str, Any]:
    mlp = {"name": "mlp", "args": {"hidden_list": widths}}
    return {"name": "liif-sampler", "args": {"imnet_spec": mlp}}


def _is_shift(name: str) -> bool:
    return bool(re.match(r"(encoder\.)?(sub_mean|add_mean)\.", name))


def _others(state: State, prefixes: tuple[str, ...]) -> bool:
    return any(not name.startswith(prefixes) for name in state)
