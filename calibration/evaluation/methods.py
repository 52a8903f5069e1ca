"""Opens the networks that are compared, each under the modes it has."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcsr.errors import UsageError
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler

from .options import EvaluationOptions
from .report import Network


@dataclass(frozen=True)
class Method:
    """One network with one request."""

    name: str
    network: str
    upscaler: Upscaler
    request: RoutingRequest


def open_networks(bundle: Path, options: EvaluationOptions) -> dict[str, Upscaler]:
    """Opens the plain networks, the bundle and those to compare it with, by name, in this order.

    Raises:
        UsageError: a bundle is named twice, or is of another kind than its option expects.
        BundleError, BackendError: a network cannot be loaded.
    """
    paths = (*options.plain, bundle, *options.compare)
    opened = dict(zip(network_names(paths), map(options.open, paths), strict=True))
    networks = list(opened.values())
    for plain, path in zip(networks, options.plain, strict=False):
        if plain.bundle.kind != "plain":
            raise UsageError(f"--plain expects the bundle of a plain network, {path} is not")
    main, *compared = networks[len(options.plain) :]
    if main.bundle.kind == "plain" and (options.plain or options.compare):
        raise UsageError(
            f"{bundle} is a plain network itself; leave out --plain and --compare, or name a PCSR "
            "bundle first and this one by --plain"
        )
    if main.bundle.kind == "plain" and options.both_refinements:
        raise UsageError(f"{bundle} is a plain network without refinement; leave out the option")
    for network in compared:
        if network.bundle.kind == "plain":
            raise UsageError(
                f"--compare expects PCSR bundles, {network.bundle.path} is of a plain network; "
                "name it by --plain"
            )
    return opened


def network_names(paths: Sequence[Path]) -> list[str]:
    """Names bundles by their folders; where two of them are called alike, by those above, too.

    Raises:
        UsageError: two are the same folder.
    """
    places = [Path(os.path.abspath(path)) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if sum(other.resolve() == place.resolve() for other in places) > 1:
            raise UsageError(f"{path} is named twice; name each bundle once")
    names: list[str] = []
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def methods_of(networks: dict[str, Upscaler], options: EvaluationOptions) -> list[Method]:
    """Lists plain networks as they are, and the others in each mode."""
    methods = []
    for name, upscaler in networks.items():
        is_plain, is_alone = upscaler.bundle.kind == "plain", len(networks) == 1
        # Modes that a plain network lacks are refused when its requests are completed.
        requests = options.requests if is_alone or not is_plain else (RoutingRequest(),)
        for request in requests:
            label = "plain" if is_plain else options.label(request)
            methods.append(Method(label, name, upscaler, request))
    return methods


def described(name: str, upscaler: Upscaler) -> Network:
    """Says what a report says of a network."""
    bundle = upscaler.bundle
    model = bundle.manifest.model
    return Network(
        name, str(bundle.path), bundle.kind, model.backbone, bundle.upsamplers, model.parameters
    )
