"""Tiny random networks in the published checkpoint formats, the same every time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pcsr.models import PCSR, make_backbone
from pcsr.models.liif import Mlp, UpsamplerSpec

BACKBONES: dict[str, dict[str, Any]] = {
    "carn": {"nf": 8, "no_upsampling": True},
    "fsrcnn": {"d": 8, "s": 4, "m": 2, "no_upsampling": True},
    "srresnet": {"nf": 8, "nb": 2, "no_upsampling": True},
    "imdn": {"nf": 24, "nb": 1, "no_upsampling": True},
}
UPSAMPLERS = ((16, 16), (12,), (6,))
CLASSIFIER = (6,)
Data = dict[str, Any]


def upsamplers(count: int) -> list[UpsamplerSpec]:
    """The specs of the heaviest upsamplers."""
    return [UpsamplerSpec(widths) for widths in UPSAMPLERS[:count]]


def pcsr_network(
    backbone: str = "carn", count: int = 2, classifier: Sequence[int] = CLASSIFIER
) -> PCSR:
    """A random PCSR network whose classifier spreads pixels over all upsamplers."""
    return network_of(backbone, upsamplers(count), classifier)


def network_of(
    backbone: str, specs: Sequence[UpsamplerSpec], classifier: Sequence[int] = CLASSIFIER
) -> PCSR:
    """The same with upsamplers of any kind, heaviest first."""
    torch.manual_seed(0)
    several = len(specs) > 1
    encoder = make_backbone(backbone, BACKBONES[backbone])
    network = PCSR(encoder, specs, classifier if several else None)
    shake_batch_norm(network)
    if several:
        _spread(network)
    return network.eval()


def pcsr_checkpoint(network: PCSR, backbone: str, classifier: Sequence[int] = CLASSIFIER) -> Data:
    """The network as the published code saves it."""
    count = len(network.names)
    args: Data = {"encoder_spec": {"name": backbone, "args": BACKBONES[backbone]}}
    samplers = [_sampler(widths) for widths in UPSAMPLERS[:count]]
    if count > 1:
        args["classifier_spec"] = _sampler(classifier)
    if count <= 2:
        args |= dict(zip(("heavy_sampler_spec", "light_sampler_spec"), samplers, strict=False))
    else:
        args["sampler_specs"] = samplers
    name = {1: "pcsr-phase0", 2: "pcsr-phase1"}.get(count, "pcsr")
    return {"model": {"name": name, "args": args, "sd": network.state_dict()}, "iter": 1}


MIXED = {
    1: (UpsamplerSpec((16, 16), 4, "bilinear", cell=False),),
    2: (UpsamplerSpec((16, 16), 4, "none", unfold=True), UpsamplerSpec((6,))),
    3: (
        UpsamplerSpec((16,), 4, "bilinear", unfold=True, cell=False),
        UpsamplerSpec((12,), 1, "none", unfold=True),
        UpsamplerSpec((6,), 4, "none"),
    ),
}


def mixed(count: int, backbone: str = "fsrcnn") -> Data:
    """A checkpoint of a random network whose upsamplers are evaluated in different ways."""
    return _of_specs(MIXED[count], backbone)


def wide(widths: Sequence[int], backbone: str = "fsrcnn") -> Data:
    """A checkpoint of a random network whose heavier upsampler has these hidden widths."""
    return _of_specs([UpsamplerSpec(tuple(widths)), UpsamplerSpec((6,))], backbone)


def _of_specs(specs: Sequence[UpsamplerSpec], backbone: str) -> Data:
    args: Data = {"encoder_spec": {"name": backbone, "args": BACKBONES[backbone]}}
    args["sampler_specs"] = [_sampler(spec.widths, **_options(spec)) for spec in specs]
    if len(specs) > 1:
        args["classifier_spec"] = _sampler(CLASSIFIER)
    network = network_of(backbone, specs)
    return {"model": {"name": "pcsr", "args": args, "sd": network.state_dict()}, "iter": 1}


def tiny(backbone: str, count: int = 2) -> Data:
    """A checkpoint of a random PCSR network with this many upsamplers."""
    return pcsr_checkpoint(pcsr_network(backbone, count), backbone)


def plain_checkpoint(backbone: str = "fsrcnn", scale: int = 4) -> Data:
    """A plain network with its own tail, as the published code saves it."""
    torch.manual_seed(0)
    args = {**BACKBONES[backbone], "no_upsampling": False}
    args["scale" if backbone in ("carn", "imdn") else "upscale"] = scale
    network = make_backbone(backbone, args)
    shake_batch_norm(network)
    return {"model": {"name": backbone, "args": args, "sd": network.state_dict()}, "iter": 1}


def liif_checkpoint(widths: Sequence[int] = (16, 16), **options: Any) -> Data:  # noqa: ANN401
    """A random LIIF network as its authors' code saves it; options: local_ensemble, feat_unfold,
    cell_decode. Its encoder has a mean shift, which is never applied.
    """
    torch.manual_seed(0)
    encoder_args = {"n_resblocks": 2, "n_feats": 8, "no_upsampling": True}
    encoder = make_backbone("edsr-baseline", encoder_args)
    on = {"local_ensemble": True, "feat_unfold": True, "cell_decode": True} | options
    inputs = 8 * (9 if on["feat_unfold"] else 1) + (4 if on["cell_decode"] else 2)
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    mlp = Mlp(inputs, widths, 3)
    weights |= {f"imnet.{name}": value for name, value in mlp.state_dict().items()}
    weights |= {"encoder.sub_mean.weight": torch.eye(3), "encoder.sub_mean.bias": torch.ones(3)}
    imnet = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": list(widths)}}
    encoder_spec = {"name": "edsr-baseline", "args": encoder_args}
    args = {"encoder_spec": encoder_spec, "imnet_spec": imnet, **options}
    return {"model": {"name": "liif", "args": args, "sd": weights}}


@torch.no_grad()
def calmed(network: PCSR) -> PCSR:
    """The network with upsamplers that add little. Its classifier has learnt nothing, so that
    half precision moves many pixels: the image must not differ by much where it does.
    """
    for upsampler in network.upsamplers:
        last = [layer for layer in upsampler.modules() if isinstance(layer, nn.Linear)][-1]
        last.weight.mul_(0.2)
        last.bias.mul_(0.2)
    return network


def save(data: Any, path: Path) -> Path:  # noqa: ANN401
    """Writes a checkpoint file."""
    torch.save(data, path)
    return path


def shake_batch_norm(network: nn.Module) -> None:
    """Statistics that are not those of the identity, so that folding them is tested."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)


@torch.no_grad()
def _spread(network: PCSR) -> None:
    """Centres and stretches the classifier's logits over a random image."""
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    last = network.classifier.imnet.layers[-1]
    assert isinstance(last, nn.Linear)
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _layer, _inputs, logits: seen.append(logits))
    network(image, 2.0)
    hook.remove()
    logits = seen[0].flatten(0, -2)
    gain = 2 / logits.std(dim=0)
    last.weight *= gain[:, None]
    last.bias.copy_((last.bias - logits.mean(dim=0)) * gain)


def _sampler(widths: Sequence[int], **options: Any) -> Data:  # noqa: ANN401
    mlp = {"name": "mlp", "args": {"hidden_list": list(widths)}}
    return {"name": "liif-sampler", "args": {"imnet_spec": mlp, **options}}


def _options(spec: UpsamplerSpec) -> Data:
    """What a checkpoint says of how an upsampler is evaluated."""
    return {
        "local_ensemble": spec.neighbours == 4,
        "feat_unfold": spec.unfold,
        "cell_decode": spec.cell,
        "base": spec.base,
    }
