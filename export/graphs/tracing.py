"""Prepares networks for torch.onnx: the same function, without what tracing cannot follow."""

from torch import Tensor, nn
from torch.nn import functional

COMPUTED = "Conv3XC"  # of SPAN: three convolutions, computed as one whenever it is called
PARTIAL = frozenset({"PLKConv2d", "RectSparsePLKConv2d"})  # of PLKSR: they overwrite their input


def traceable(module: nn.Module) -> nn.Module:
    """Returns the module, changed where tracing it would crash or write into slices of tensors."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            kind = type(child).__name__
            if kind == COMPUTED and hasattr(child, "update_params"):
                setattr(parent, name, _Collapsed(child))
            elif kind in PARTIAL:
                setattr(parent, name, _Joining(child))
    return module


class _Joining(nn.Module):
    """A block that in training joins parts, and computes the same."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.train(self.training)

    def train(self, mode: bool = True) -> "_Joining":
        super().train(mode)
        self.block.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.block(x)
        return joined


class _Collapsed(nn.Module):
    """The one convolution that a Conv3XC stands for, from its weights as they are now: the one in
    its checkpoint may be older.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        block.update_params()  # type: ignore[operator]  # of an unknown class
        self.conv: nn.Module = block.eval_conv  # type: ignore[assignment]
        self.has_relu = bool(block.has_relu)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return functional.leaky_relu(x, 0.05) if self.has_relu else x
