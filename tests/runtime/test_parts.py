"""Bad arguments of the parts of an image: one line each, never an error of Python's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import ImageError, Upscaler, UsageError
from pcsr.runtime.routing.merging import Counted
from pcsr.runtime.routing.request import RoutingRequest

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 40, 3), np.uint8)


@pytest.mark.parametrize("count", [0, -1, 2.5, "2", True, None])
def test_counts(carn_like_bundle: Path, count: Any) -> None:  # noqa: ANN401
    with (
        Upscaler(carn_like_bundle, threads=1).parts() as parts,
        pytest.raises(UsageError, match=r"^count must be a number of parts from 1 on, found "),
    ):
        parts.cut(IMAGE, count=count)


def test_options_are_those_of_a_call(carn_like_bundle: Path) -> None:
    with Upscaler(carn_like_bundle, threads=1).parts() as parts:
        request = RoutingRequest(heavy_ratio=0.5)
        assert parts.cut(IMAGE, heavy_ratio=0.5).request == parts.cut(IMAGE, 4, request).request
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("request must be a RoutingRequest, found a dict", {"request": {"adaptive": True}}),
            ("unknown option 'heavy'", {"heavy": 0.5}),
            ("adaptive and heavy_ratio exclude each", {"adaptive": True, "heavy_ratio": 0.5}),
            ("request and k exclude each other", {"request": request, "k": 0.5}),
        ]
        for message, options in wrong:
            with pytest.raises(UsageError, match=f"^{message}"):
                parts.cut(IMAGE, **options)


def test_rules(carn_like_bundle: Path) -> None:
    wrong: Any
    with Upscaler(carn_like_bundle, threads=1).parts() as parts:
        cut = parts.cut(IMAGE, adaptive=True)
        for run, message in (
            (None, r"need rule\(run\) with a function that counts all parts, found None"),
            (5, "run must be a function that counts all parts, found 5"),
            (lambda _: [], "run must return the sum of all parts' counts, found a list"),
        ):
            with pytest.raises(UsageError, match=message):
                cut.rule(run)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="sum of all parts' counts, found a list"):
            parts.cut(IMAGE, heavy_ratio=0.5).rule(lambda _: [])  # type: ignore[arg-type,return-value]
        rows = IMAGE[cut.parts[0].seen]
        for wrong in (None, 5):
            with pytest.raises(UsageError, match=f"be a Rule, found {wrong}; make it with cut"):
                parts.upscale(cut, 0, rows, wrong)
        rule = parts.cut(IMAGE).rule()
        assert rule
        with pytest.raises(UsageError, match="rule is of another image's bundle"):
            parts.upscale(cut, 0, rows, replace(rule, cost=rule.cost[:1]))


def test_parts_that_are_not_there(carn_like_bundle: Path, plain_bundle: Path) -> None:
    index: Any
    wrong: Any = 5
    with Upscaler(carn_like_bundle, threads=1).parts() as parts:
        cut = parts.cut(IMAGE)
        rows, rule = IMAGE[cut.parts[0].seen], cut.rule()
        for index in (2, -1, 0.0, "0"):
            with pytest.raises(UsageError, match=r"^index must be from 0 to 1, found"):
                parts.upscale(cut, index, rows, rule)
            with pytest.raises(UsageError, match=r"^index must be from 0 to 1, found"):
                parts.count(cut, index, rows, Counted(logits=True))
        with pytest.raises(UsageError, match=r"^cut must be a CutImage, found 5"):
            parts.upscale(wrong, 0, rows, rule)
        with pytest.raises(UsageError, match=r"^counted must be a Counted, found 5"):
            parts.count(cut, 0, rows, wrong)
        with pytest.raises(ImageError, match=r"^expected rows 0 to 64 of the image"):
            parts.upscale(cut, 0, [1], rule)  # type: ignore[arg-type]
        with Upscaler(plain_bundle, threads=1).parts() as plain:
            with pytest.raises(UsageError, match="was cut for another bundle"):
                plain.upscale(cut, 0, rows, rule)
            uncounted = plain.cut(IMAGE)
            with pytest.raises(UsageError, match="parts of a plain network are not counted"):
                plain.count(uncounted, 0, rows, Counted(logits=True))


def test_after_the_block(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=1)
    with upscaler.parts() as parts:
        cut = parts.cut(IMAGE)
        rows, rule = IMAGE[cut.parts[0].seen], cut.rule()
        upscaler.close()
        assert parts.upscale(cut, 0, rows, rule).pixels.shape == (180, 160, 3)
    uses: list[Callable[[], object]] = [
        lambda: parts.cut(IMAGE),
        lambda: parts.count(cut, 0, rows, Counted(logits=True)),
        lambda: parts.upscale(cut, 0, rows, rule),
    ]
    for use in uses:
        with pytest.raises(UsageError, match="were lent to a block that has ended"):
            use()
