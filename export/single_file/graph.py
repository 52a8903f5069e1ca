"""Builds the one graph of a bundle: image [1, 3, h, w] -> upscaled [1, 3, H, W]."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from pcsr.bundle import Bundle

from .axes import bands, make_axis, phases
from .composition import Layout, as_channel, as_floats, bilinear, refined
from .mlps import Part, Pixels, RowGraph
from .routing import route_adaptively, route_by_k
from .writer import GraphWriter

Form = Literal["sparse", "dense"]
IMAGE, UPSCALED, ASSIGNMENT = "image", "upscaled", "assignment"
MOST_PHASES = 4  # of a dimension: ONNX Runtime takes 12 s to open 64 parts


@dataclass(frozen=True)
class Baked:
    """What is fixed in a graph of one file."""

    scale: float
    k: float | None = 0.0
    """None for ADM."""
    refine: bool = True
    form: Form = "sparse"
    precision: str = "fp32"

    @property
    def whole_scale(self) -> int | None:
        """The scale where it is a whole number."""
        return int(self.scale) if self.scale == int(self.scale) else None

    @property
    def has_phases(self) -> bool:
        """Whether pixels are computed by their place within an input pixel, else in bands."""
        return self.whole_scale is not None and self.whole_scale <= MOST_PHASES


def build_graph(bundle: Bundle, baked: Baked, shows_routing: bool = False) -> onnx.ModelProto:
    """Composes the graphs of a bundle and what lies between them.

    Args:
        shows_routing: whether `assignment` [1, 1, H, W] float32, the upsampler of each pixel, is a
            second output.
    """
    read = {
        role: onnx.ModelProto.FromString(bundle.graph_bytes(role, baked.precision))
        for role in bundle.graphs(baked.precision)
    }
    if bundle.kind == "plain":
        network: onnx.ModelProto = read["network"]
        return network
    return _Composer(bundle, baked, read).model(shows_routing)


class _Composer:
    """Writes the graph of one PCSR bundle."""

    def __init__(self, bundle: Bundle, baked: Baked, graphs: Mapping[str, onnx.ModelProto]) -> None:
        self._bundle, self._baked, self._graphs = bundle, baked, graphs
        self._write = GraphWriter()
        self._count = bundle.upsamplers
        self._specs = bundle.manifest.model.upsamplers

    def model(self, shows_routing: bool) -> onnx.ModelProto:
        """Builds the model, without its metadata."""
        write = self._write
        size = write.op("Shape", IMAGE)
        height, width = (write.gather(size, write.whole(axis)) for axis in (2, 3))
        layout = self._layout((height, width))
        mlps = self._row_graphs((height, width))
        masks = self._routed(mlps, layout)
        images = [
            self._part(part, mask, mlps) for part, mask in zip(layout.parts, masks, strict=True)
        ]
        image = layout.joined(write, images)
        if self._baked.refine and self._count > 1:
            heavy = [self._any(each[: (self._count + 1) // 2]) for each in masks]
            image = refined(write, image, layout.joined_masks(write, heavy), layout.size)
        outputs = {UPSCALED: (image, 3)}
        if shows_routing:
            outputs[ASSIGNMENT] = (self._assignment(layout, masks), 1)
        return self._finished(outputs)

    def _enlarged(self, count: str) -> str:
        write, scale = self._write, self._baked.whole_scale
        if scale is not None:
            return write.op("Mul", count, write.whole(scale))
        exact = write.cast(count, TensorProto.DOUBLE)
        exact = write.op("Mul", exact, write.constant([self._baked.scale], np.float64))
        return write.cast(write.op("Round", exact), TensorProto.INT64)

    def _layout(self, inputs: tuple[str, str]) -> Layout:
        write, scale = self._write, self._baked.whole_scale
        has_sides = any(spec.neighbours == 4 for spec in self._specs)
        outputs = self._enlarged(inputs[0]), self._enlarged(inputs[1])
        rows, columns = (
            make_axis(write, n, m, has_sides) for n, m in zip(inputs, outputs, strict=True)
        )
        if scale is None or not self._baked.has_phases:
            return Layout(bands(write, rows), [columns], None, outputs)
        phased = [
            phases(write, axis, n, scale) for axis, n in zip((rows, columns), inputs, strict=True)
        ]
        return Layout(phased[0], phased[1], scale, outputs)

    def _row_graphs(self, size: tuple[str, str]) -> dict[str, RowGraph]:
        roles = [role for role in self._graphs if role != "backbone"]
        maps = self._write.insert(
            self._graphs["backbone"],
            "backbone",
            {"image": IMAGE},
            [f"{role}_features" for role in roles],
        )
        return {
            role: RowGraph(
                self._write,
                role,
                self._graphs[role],
                self._bundle.manifest.model.neighbours(role),
                features,
                size,
            )
            for role, features in zip(roles, maps, strict=True)
        }

    def _routed(self, mlps: dict[str, RowGraph], layout: Layout) -> list[list[str]]:
        """Gives for each part the masks [n*m] of all upsamplers but the lightest."""
        if self._count == 1:
            return [[] for _ in layout.parts]
        logits = [mlps["classifier"].of_all(part) for part in layout.parts]
        if self._baked.k is None:
            has_histogram = self._baked.form == "sparse"
            listed = partial(layout.listed, self._write)
            return route_adaptively(self._write, logits, self._count, has_histogram, listed)
        cost = self._bundle.manifest.costs.cost_table(self._baked.scale)
        return route_by_k(self._write, logits, cost, self._baked.k)

    def _part(self, part: Part, masks: Sequence[str], mlps: dict[str, RowGraph]) -> str:
        """Computes the pixels of a part: [1, 3, n, m]."""
        write = self._write
        values = mlps[f"upsampler_{self._count - 1}"].of_all(part)
        for j, mask in enumerate(masks):
            mlp = mlps[f"upsampler_{j}"]
            choose = self._scattered if self._baked.form == "sparse" else self._chosen
            values = choose(values, mask, part, mlp)
        image = as_channel(write, values, part, 3)
        have_base = [spec.base == "bilinear" for spec in self._specs]
        if not any(have_base):
            return image
        base = bilinear(write, IMAGE, part)
        if not all(have_base):
            base = write.op("Mul", base, self._has_base(part, masks, have_base))
        return write.op("Add", image, base)

    def _scattered(self, values: str, mask: str, part: Part, mlp: RowGraph) -> str:
        """Computes an upsampler where a mask is set, and puts it among `values` [n*m, 3].

        The first pixel is always computed, and keeps its value where its mask is not set: OpenCV
        dies of a product without rows.
        """
        write, op = self._write, self._write.op
        places = op("NonZero", write.reshape(mask, part.rows.count, part.columns.count))
        places = op("Concat", write.constant([[0], [0]], np.int64), places, axis=1)
        row, column = (write.gather(places, write.constant(i, np.int64)) for i in (0, 1))
        index = op("Add", op("Mul", row, part.columns.count), column)
        is_meant = write.unsqueeze(write.gather(mask, index), 1)
        computed = mlp.of(Pixels(part, row, column))
        computed = op("Where", is_meant, computed, write.gather(values, index))
        return op("ScatterND", values, write.unsqueeze(index, 1), computed)

    def _chosen(self, values: str, mask: str, part: Part, mlp: RowGraph) -> str:
        """Computes an upsampler for all pixels, and takes it where a mask is set."""
        return self._write.op("Where", self._write.unsqueeze(mask, 1), mlp.of_all(part), values)

    def _has_base(self, part: Part, masks: Sequence[str], have_base: Sequence[bool]) -> str:
        """Gives 1 where a pixel's upsampler has a base, else 0: [1, 1, n, m]."""
        write = self._write
        others = [m for m, has in zip(masks, have_base, strict=False) if has != have_base[-1]]
        differs = self._any(others)
        mask = write.op("Not", differs) if have_base[-1] else differs
        return as_floats(write, mask, part)

    def _assignment(self, layout: Layout, masks: Sequence[Sequence[str]]) -> str:
        """Gives the upsampler of each pixel, [1, 1, H, W] float32."""
        write, last = self._write, self._count - 1
        result = write.op("Expand", write.constant([float(last)]), write.shape(1, 1, *layout.size))
        for j in range(last):
            mask = layout.joined_masks(write, [each[j] for each in masks])
            steps = write.op("Mul", mask, write.constant([float(last - j)]))
            result = write.op("Sub", result, steps)
        return result

    def _any(self, masks: Sequence[str]) -> str:
        result = masks[0]
        for mask in masks[1:]:
            result = self._write.op("Or", result, mask)
        return result

    def _finished(self, outputs: Mapping[str, tuple[str, int]]) -> onnx.ModelProto:
        """Makes the model of the outputs by name: what they are here, and their channels."""
        write, scale = self._write, self._baked.whole_scale
        sides = ["H", "W"] if scale is None else [f"{scale}*h", f"{scale}*w"]
        value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
        for name, (source, _) in outputs.items():
            write.nodes.append(helper.make_node("Identity", [source], [name], name))
        graph = helper.make_graph(
            write.nodes,
            "pcsr",
            [value(IMAGE, shape=[1, 3, "h", "w"])],
            [value(name, shape=[1, channels, *sides]) for name, (_, channels) in outputs.items()],
            [*write.weights.values()],
        )
        like = self._graphs["backbone"]
        return helper.make_model(graph, opset_imports=like.opset_import, ir_version=like.ir_version)
