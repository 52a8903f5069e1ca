"""The class for map_batches: columns in, columns out, and never all results at once."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcsr import Upscaler
from pcsr.batch import Upscale, upscale
from pcsr.errors import BundleError, ImageError, UsageError
from tests.commands import upscale as upscale_files
from tests.runtime.files.pictures import colours, picture


def joined(batches: Any) -> dict[str, list[Any]]:  # noqa: ANN401
    """All rows of all batches, by column."""
    found: dict[str, list[Any]] = {}
    for batch in batches:
        lengths = {len(column) for column in batch.values()}
        assert len(lengths) == 1
        for name, column in batch.items():
            found.setdefault(name, []).extend(column)
    return found


def test_arrays_are_upscaled_as_alone(carn_like_bundle: Path) -> None:
    gray, rgb = colours((9, 7))[..., 0], colours((12, 20))
    given = np.empty(3, object)
    given[:] = [rgb, gray, gray[..., None]]
    call = Upscale(carn_like_bundle, column="image", scale=3, k=0.5)
    found = joined(call({"image": given, "path": np.array(["a", "b", "c"])}))
    alone = Upscaler(carn_like_bundle)
    for made, image in zip(found["image"], (rgb, gray, gray), strict=True):
        np.testing.assert_array_equal(made, alone(image, 3, k=0.5).image)
    assert found["path"] == ["a", "b", "c"]
    assert list(zip(found["height"], found["width"], strict=True)) == [(36, 60), (27, 21), (27, 21)]
    assert found["heavy_share"][0] == alone(rgb, 3, k=0.5).stats.heavy_share
    assert all(ms > 0 for ms in found["ms"])
    assert found["error"] == [None] * 3


def test_encoded_images_are_those_of_the_command(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", "RGBA", dpi=(300, 300))
    assert upscale_files(carn_like_bundle, source, tmp_path / "b.png").code == 0
    (made,) = joined(Upscale(carn_like_bundle, encode=".png")({"bytes": [source.read_bytes()]}))[
        "bytes"
    ]
    assert made == (tmp_path / "b.png").read_bytes()


def test_batches_are_bounded_by_pixels(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscale, "BATCH_PIXELS", 3 * 48 * 80)
    call = Upscale(carn_like_bundle, column="image")
    batches = list(call({"image": np.stack([colours()] * 7), "n": list(range(7))}))
    assert [list(batch["n"]) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    (empty,) = call({"image": np.empty((0, 3, 3, 3), np.uint8), "n": []})
    assert [len(column) for column in empty.values()] == [0] * 7


def test_an_image_that_fails_is_a_row(carn_like_bundle: Path, tmp_path: Path) -> None:
    good = picture(tmp_path / "a.png").read_bytes()
    rows = {"bytes": [b"nothing", good, None, good[:90]]}
    found = joined(Upscale(carn_like_bundle)(rows))
    assert [image is None for image in found["image"]] == [True, False, True, True]
    assert found["height"] == [None, 48, None, None]
    assert "cannot read" in found["error"][0]
    assert "expected encoded bytes or an array" in found["error"][2]
    with pytest.raises(ImageError, match="cannot read"):
        list(Upscale(carn_like_bundle, on_error="raise")(rows))
    found = joined(Upscale(carn_like_bundle, max_pixels=100)({"bytes": [good]}))
    assert "expected at most 100 pixels" in found["error"][0]
    image = {"bytes": [np.zeros((20, 20), np.uint8), np.zeros((4, 4), np.int64)]}
    found = joined(Upscale(carn_like_bundle, max_pixels=100)(image))
    assert "expected at most 100 pixels" in found["error"][0]
    assert "expected pixels" in found["error"][1]


def test_wrong_arguments(carn_like_bundle: Path, tmp_path: Path) -> None:
    for options, pattern in (
        ({"encode": ".gif"}, "encode must be one of"),
        ({"on_error": "ignore"}, "on_error must be"),
        ({"quality": 0}, "quality must"),
        ({"unknown": 1}, "unknown option"),
        ({"scale": 0.5}, "scale"),
        ({"heavy_ratio": 2}, "heavy_ratio"),
    ):
        with pytest.raises(UsageError, match=pattern):
            Upscale(carn_like_bundle, **options)
    with pytest.raises(UsageError, match="expected a column 'bytes', found image"):
        next(Upscale(carn_like_bundle)({"image": []}))
    with pytest.raises(BundleError):
        Upscale(tmp_path)


def test_it_pickles(carn_like_bundle: Path) -> None:
    call = pickle.loads(pickle.dumps(Upscale(carn_like_bundle, column="image", adaptive=True)))
    assert joined(call({"image": [colours()]}))["width"] == [80]


def test_ray_data(cluster: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    import ray

    for number in range(6):
        picture(tmp_path / f"in/{number}.png", size=(10 + number, 20), seed=number)
    picture(tmp_path / "in/6.png", "L")
    (tmp_path / "in/bad.png").write_bytes(b"nothing")
    read = ray.data.read_binary_files(str(tmp_path / "in"), include_paths=True)
    arguments = {"bundle": str(carn_like_bundle), "threads": 1}
    for encode in (None, ".png"):
        upscaled = read.map_batches(
            Upscale,
            fn_constructor_kwargs=arguments | {"encode": encode},
            batch_size=16,
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=1,
        )
        rows = {Path(row["path"]).name: row for row in upscaled.take_all()}
        assert len(rows) == 8
        assert "cannot read" in rows["bad.png"]["error"]
        for number in range(7):
            row = rows[f"{number}.png"]
            source = np.asarray(Image.open(tmp_path / f"in/{number}.png"))
            expected = Upscaler(carn_like_bundle)(source).image
            assert (row["height"], row["width"]) == expected.shape[:2]
            if encode is None:
                np.testing.assert_array_equal(np.asarray(row["image"]), expected)
            else:
                assert row["bytes"][:4] == b"\x89PNG"


def test_ray_data_of_arrays(cluster: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    import ray

    for number in range(4):
        picture(tmp_path / f"{number}.png", size=(10 + number % 2, 20), seed=number)
    upscaled = ray.data.read_images(str(tmp_path)).map_batches(
        Upscale,
        fn_constructor_args=(str(carn_like_bundle),),
        fn_constructor_kwargs={"column": "image", "threads": 1},
        batch_size=2,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )
    assert sorted(row["image"].shape for row in upscaled.take_all()) == [
        (40, 80, 3),
        (40, 80, 3),
        (44, 80, 3),
        (44, 80, 3),
    ]
