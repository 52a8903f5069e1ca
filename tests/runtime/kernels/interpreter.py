"""Triton's interpreter on the NumPy of today."""

from typing import Any

from triton.runtime import interpreter


def use_with_any_numpy() -> None:
    """Since NumPy 2.4 an array of one element, as the interpreter holds a number, is no index."""
    original = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched
