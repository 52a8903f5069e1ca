"""Defines what pyproject.toml cannot say: the compiled passes of the CPU runtime."""

from setuptools import setup

setup(cffi_modules=["runtime/cpu/native/build.py:ffi"])
