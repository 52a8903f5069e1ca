"""The operators that graphs of a bundle may have, and what each one's results are."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .shapes import MOST_AXES, Computation, Inputs, Rule, Shape, Value, broadcast, given
from .window_rules import WINDOW_RULES

MOST_KNOWN = 64
INT64 = 7


def _elementwise(function: Callable[..., Any] | None = None) -> Rule:
    """Combines all inputs; function: what it makes of sizes that are known."""

    def rule(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
        operands = given(inputs)
        shape = broadcast(*(value.shape for value in operands))
        known = None
        if function and math.prod(shape) <= MOST_KNOWN:
            values = [value.known for value in operands if value.known is not None]
            if len(values) == len(operands) and all(v.dtype == np.int64 for v in values):
                exact = function(*(v.astype(object) for v in values))
                known = np.broadcast_to(np.array(exact, np.int64), shape)  # or OverflowError
        return [Value(shape, known)], math.prod(shape)

    return rule


def _like_first(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    first = given(inputs)[0]
    return [Value(first.shape)], first.count


def _same(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    return [given(inputs)[0]], 0


def _cast(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x = given(inputs)[0]
    is_kept = x.known is not None and x.known.dtype == np.int64 and node.attributes["to"] == INT64
    return [x if is_kept else Value(x.shape)], x.count


def _divided(a: Any, b: Any) -> Any:  # noqa: ANN401
    if not b.all():
        raise ValueError("a size is divided by 0")
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # towards 0, as ONNX says


def _least(*values: Any) -> Any:  # noqa: ANN401
    return functools.reduce(np.minimum, values)


def _most(*values: Any) -> Any:  # noqa: ANN401
    return functools.reduce(np.maximum, values)


def _prelu(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, slope = given(inputs)
    if broadcast(x.shape, slope.shape) != x.shape:
        raise ValueError("slopes are larger than what they multiply")
    return [Value(x.shape)], x.count


def _constant(node: Computation, _inputs: Inputs) -> tuple[list[Value], int]:
    (name, value), *more = node.attributes.items()
    if more or name not in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        raise ValueError("of another kind")
    if isinstance(value, Value):
        return [value], 0
    known = np.array(value, np.int64 if "int" in name else np.float32)
    return [Value(known.shape, known if known.size <= MOST_KNOWN else None)], 0


def _matmul(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    a, b = (value.shape for value in given(inputs))
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()  # of a vector: none
    if not a or not b or a[-1] != b[max(0, len(b) - 2)]:
        raise ValueError(f"{a} times {b}")
    shape = (*broadcast((), a[:-2], b[:-2]), *rows, *columns)
    return [Value(shape)], math.prod(shape) * max(1, a[-1])


def _gemm(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    a, b, *c = (value.shape for value in given(inputs))
    a = a[::-1] if node.attributes.get("transA", 0) else a
    b = b[::-1] if node.attributes.get("transB", 0) else b
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError(f"{a} times {b}")
    shape = (a[0], b[1])
    if c and broadcast(c[0], shape) != shape:
        raise ValueError(f"{c[0]} added to {shape}")
    return [Value(shape)], math.prod(shape) * max(1, a[1])


def _concat(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    joint = given(inputs)
    axis = _axis(node.attributes["axis"], len(joint[0].shape))
    shapes = [value.shape for value in joint]
    if len({(*shape[:axis], *shape[axis + 1 :], len(shape)) for shape in shapes}) > 1:
        raise ValueError(f"shapes {shapes} differ")
    joined = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
    known = None
    parts = [value.known for value in joint if value.known is not None]
    if len(parts) == len(joint) and math.prod(joined) <= MOST_KNOWN:
        known = np.concatenate(parts, axis)
    return [Value(joined, known)], math.prod(joined)


def _qlinear_concat(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    return _concat(node, inputs[2::3])


def _qlinear_add(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    a, b = inputs[0], inputs[3]
    return _elementwise()(_node, [a, b])


def _split(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, count = given(inputs)[0], len(node.outputs)
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    length = x.shape[axis]
    if len(inputs) > 1 and inputs[1] is not None:
        parts = inputs[1].integers()
    else:
        step = -(-length // count)
        parts = [max(0, min(step, length - step * index)) for index in range(count)]
    if sum(parts) != length or min(parts) < 0 or len(parts) != count:
        raise ValueError(f"{length} in parts of {parts}")
    shapes = [(*x.shape[:axis], part, *x.shape[axis + 1 :]) for part in parts]
    return [Value(shape) for shape in shapes], x.count


def _slice(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, starts, ends, axes, steps = [*inputs, None, None][:5]
    if x is None or starts is None or ends is None:
        raise ValueError("no range")
    first, last = starts.integers(), ends.integers()
    along = axes.integers() if axes else [*range(len(first))]
    by = steps.integers() if steps else [1] * len(first)
    ranges = [slice(None)] * len(x.shape)
    for start, stop, axis, step in zip(first, last, along, by, strict=True):
        stop_at = None if step < 0 and stop < -x.shape[_axis(axis, len(x.shape))] else stop
        ranges[_axis(axis, len(x.shape))] = slice(start, stop_at, step)
    lengths = zip(ranges, x.shape, strict=True)
    shape = tuple(len(range(*part.indices(length))) for part, length in lengths)
    known = None if x.known is None else x.known[tuple(ranges)]
    return [Value(shape, known)], math.prod(shape)


def _gather(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, index = given(inputs)
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    known, is_small = None, math.prod(shape) <= MOST_KNOWN and len(shape) <= MOST_AXES
    if x.known is not None and index.known is not None and is_small:
        known = np.take(x.known, index.known.astype(np.int64), axis)
    return [Value(shape, known)], math.prod(shape)


def _reshape(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, target = given(inputs)
    sizes = target.integers()
    if not node.attributes.get("allowzero", 0):
        sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
    return [Value(_filled(x.count, sizes), _reshaped(x, _filled(x.count, sizes)))], 0


def _filled(count: int, sizes: list[int]) -> Shape:
    """Finds the side that is -1."""
    others = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and others > 0:
        sizes = [count // others if size == -1 else size for size in sizes]
    if min(sizes, default=0) < 0 or math.prod(sizes) != count or len(sizes) > 8:
        raise ValueError(f"{count} values as {sizes}")
    return tuple(sizes)


def _reshaped(x: Value, shape: Shape) -> Any:  # noqa: ANN401
    return None if x.known is None else x.known.reshape(shape)


def _flatten(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    shape = given(inputs)[0].shape
    axis = node.attributes.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} of {shape}")
    return [Value((math.prod(shape[:axis]), math.prod(shape[axis:])))], 0


def _expand(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, target = given(inputs)
    shape = broadcast(x.shape, tuple(target.integers()))
    return [Value(shape)], math.prod(shape)


def _shape(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    sides = given(inputs)[0].shape
    part = sides[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
    return [Value((len(part),), np.array(part, np.int64))], 0


def _squeeze(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, axes = given(inputs[:1])[0], [*inputs, None][1]
    rank = len(x.shape)
    dropped = {_axis(axis, rank) for axis in axes.integers()} if axes else None
    if dropped is None:
        dropped = {axis for axis in range(rank) if x.shape[axis] == 1}
    if any(x.shape[axis] != 1 for axis in dropped):
        raise ValueError(f"sides {dropped} of {x.shape}")
    shape = tuple(side for axis, side in enumerate(x.shape) if axis not in dropped)
    return [Value(shape, _reshaped(x, shape))], 0


def _unsqueeze(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, axes = given(inputs)
    added = axes.integers()
    rank = len(x.shape) + len(added)
    places = {_axis(axis, rank) for axis in added}
    if len(places) < len(added) or rank > 8:
        raise ValueError(f"axes {added}")
    sides = iter(x.shape)
    shape = tuple(1 if axis in places else next(sides) for axis in range(rank))
    return [Value(shape, _reshaped(x, shape))], 0


def _transpose(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    shape = given(inputs)[0].shape
    order = list(node.attributes.get("perm", [*range(len(shape))][::-1]))
    if sorted(order) != [*range(len(shape))]:
        raise ValueError(f"order {order} of {shape}")
    return [Value(tuple(shape[axis] for axis in order))], 0


def _reduce(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, axes = given(inputs[:1])[0], [*inputs, None][1]
    rank = len(x.shape)
    along = axes.integers() if axes else []
    if not along and node.attributes.get("noop_with_empty_axes", 0):
        return [Value(x.shape)], x.count
    reduced = {_axis(axis, rank) for axis in along} or {*range(rank)}
    keep = node.attributes.get("keepdims", 1)
    sides = [(1 if axis in reduced else side) for axis, side in enumerate(x.shape)]
    kept = [side for axis, side in enumerate(sides) if keep or axis not in reduced]
    return [Value(tuple(kept))], x.count


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


RULES: dict[str, Rule] = {
    **WINDOW_RULES,
    "Add": _elementwise(operator.add),
    "Sub": _elementwise(operator.sub),
    "Mul": _elementwise(operator.mul),
    "Div": _elementwise(_divided),
    "Min": _elementwise(_least),
    "Max": _elementwise(_most),
    "Pow": _elementwise(),
    **dict.fromkeys(
        (
            *("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Softmax", "Gelu", "Erf", "Sqrt"),
            "Mish",
            *("Exp", "Abs", "Neg", "HardSigmoid", "HardSwish", "Softplus", "Elu", "Reciprocal"),
            *("LayerNormalization", "InstanceNormalization", "BatchNormalization"),
            *("QuantizeLinear", "DequantizeLinear"),
        ),
        _like_first,
    ),
    "Cast": _cast,
    "Identity": _same,
    "PRelu": _prelu,
    "Constant": _constant,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "Shape": _shape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    **dict.fromkeys(("ReduceMean", "ReduceL2"), _reduce),
    "com.microsoft::QLinearAdd": _qlinear_add,
    "com.microsoft::QLinearConcat": _qlinear_concat,
}
"""All operators that are taken, by name; those of another domain with its name in front."""
