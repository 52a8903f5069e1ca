"""Triton's interpreter, made to run with the NumPy of today, and faster."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from triton.runtime import interpreter


def repair() -> None:
    """Repairs it; once per process, before a kernel runs."""
    interpreter._patch_lang_tensor = _with_index(interpreter._patch_lang_tensor)
    interpreter._patch_lang = _Once(interpreter._patch_lang)


def _with_index(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Adds an index: since NumPy 2.4 an array of one element, as a number is held here, is none."""

    def patched(tensor: object, scope: interpreter._LangPatchScope) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    return patched


class _Once:
    """Patches the language once per kernel and module, not at each call of a function in it."""

    def __init__(self, original: Callable[[Any], Any]) -> None:
        self._original = original
        self._done: set[int] = set()

    def __call__(self, function: FunctionType) -> object:
        module = id(function.__globals__)
        if module in self._done:
            return interpreter._LangPatchScope()
        is_kernel = not self._done
        self._done.add(module)
        scope = self._original(function)
        if is_kernel:
            scope.restore = self._ending(scope.restore)
        return scope

    def _ending(self, restore: Callable[[], None]) -> Callable[[], None]:
        def end() -> None:
            self._done.clear()
            restore()

        return end
