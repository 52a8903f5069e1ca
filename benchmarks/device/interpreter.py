"""Triton's interpreter, made to run with the NumPy of today, and faster."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from triton.runtime import interpreter


def repair() -> None:
    """Repairs it; once per process, before a kernel runs."""
    interpreter._patch_lang_tensor = _with_index(interpreter._patch_lang_tensor)
    interpreter._patch_lang = _once(interpreter._patch_lang)


def _with_index(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Adds an index: since NumPy 2.4 an array of one element, as a number is held here, is none."""

    def patched(tensor: object, scope: interpreter._LangPatchScope) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    return patched


def _once(original: Callable[[Any], Any]) -> Callable[[FunctionType], object]:
    """Patches the language once per kernel and module, not at each call of a function in it."""
    done: set[int] = set()

    def patched(function: FunctionType) -> object:
        module, is_kernel = id(function.__globals__), not done
        if module in done:
            return interpreter._LangPatchScope()
        done.add(module)
        scope = original(function)
        restore = scope.restore

        def end() -> None:
            done.clear()
            restore()

        if is_kernel:
            scope.restore = end
        return scope

    return patched
