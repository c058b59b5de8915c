"""Compiled functions and where their machine code is kept.

Numba's cache does not notice when a function called from *another* file changes (measured), so the cache folder is
named after everything that can matter: all kernel sources, where they lie and when they were written (by which Numba
knows them), the Numba version and the CPU. It lies in
`$STAKEOUT_CACHE` or `~/.cache/stakeout`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm  # type: ignore[import-untyped]  # llvmlite ships no types
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

Int = Any
"""A number inside a kernel: int64 to Numba; plain Python has no type that is both that and an index."""

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("events", "features", "models", "cep")
MARK = "@compiled"


def sources() -> list[Path]:
    """Every file that names MARK: those with a compiled function or with constants of one, sorted."""
    files = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return [path for path in files if MARK in path.read_text()]


def cache_folder() -> Path:
    """The folder for this very set of kernels on this machine."""
    digest = hashlib.sha256(f"{numba.__version__} {llvm.get_host_cpu_name()}".encode())
    for path in sources():
        digest.update(f"{path} {path.stat().st_mtime_ns}".encode() + path.read_bytes())
    home = Path(os.environ.get("STAKEOUT_CACHE") or Path.home() / ".cache" / "stakeout")
    return home / "kernels" / digest.hexdigest()[:16]


numba.config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]  # numba.config is filled at run time


OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
"""No fastmath. Kernels allocate nothing, so none counts references (`_nrt`): 50 ns less for ten arrays."""


def compiled(function: Function) -> Function:
    """Compile with Numba: cached on disk, without the interpreter lock."""
    return cast(Function, numba.njit(function, forceinline=False, **OPTIONS))  # or it would be as its callers are


def inlined(function: Function) -> Function:
    """A compiled function that is small enough to be part of its callers."""
    return cast(Function, numba.njit(function, inline="always", **OPTIONS))


def unfolded(function: Function) -> Function:
    """The same for a large one, or one of more than thirty parameters: LLVM makes it part of its callers, not Numba."""
    return cast(Function, numba.njit(function, forceinline=True, **OPTIONS))


@inlined
def real_of(cell: Int) -> Any:
    """The float64 whose bits a cell holds."""
    return np.int64(cell).view(np.float64)


@inlined
def bits_of(real: Any) -> Any:
    """The bits of a float64."""
    return np.float64(real).view(np.int64)


def load() -> None:
    """What Numba does before its first kernel, but without SciPy: no kernel calls the BLAS for which Numba imports it
    wherever it is installed (0.2 s).
    """
    blas = "scipy.linalg.cython_blas"
    if blas in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]  # how an import is told that there is none
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[blas]


def _trailing_zeros(typing: Any, word: Any) -> Any:
    """One instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """A word of 0 has no answer."""
        return builder.cttz(arguments[0], context.get_constant(numba.types.boolean, True))

    return numba.types.int64(numba.types.int64), generate


trailing_zeros: Callable[[Int], Int] = cast(Any, intrinsic(_trailing_zeros))
"""The place of the lowest bit of an int64 that is not 0."""


def _ones(typing: Any, word: Any) -> Any:
    """One instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """llvm.ctpop."""
        return builder.ctpop(arguments[0])

    return numba.types.int64(numba.types.int64), generate


ones: Callable[[Int], Int] = cast(Any, intrinsic(_ones))
"""How many bits of an int64 are set."""


def _apart(typing: Any) -> Any:
    """No instruction: an attribute of the function it stands in."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """noinline."""
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return numba.types.none(), generate


apart: Callable[[], None] = cast(Any, intrinsic(_apart))
"""The compiled function in which this stands stays a function of its own: what seldom runs leaves its callers short."""


def _seldom(typing: Any, holds: Any) -> Any:
    """No instruction: where the code goes that is run if it holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """llvm.expect(holds, false)."""
        truth = ir.IntType(1)
        expect = builder.module.declare_intrinsic("llvm.expect", [truth], ir.FunctionType(truth, [truth, truth]))
        return builder.call(expect, [arguments[0], truth(0)])

    return numba.types.boolean(numba.types.boolean), generate


seldom: Callable[[bool], bool] = cast(Any, intrinsic(_seldom))
"""A condition that seldom holds: what depends on it is laid out of the way."""


def _ask_for(typing: Any, array: Any, row: Any) -> Any:
    """One instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """llvm.prefetch(address, read, keep, data)."""
        kind = signature.args[0]
        rows = context.make_array(kind)(context, builder, arguments[0])
        item: Any = cgutils.get_item_pointer
        place = item(context, builder, kind, rows, [arguments[1]], wraparound=False)
        bytes_of = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", [bytes_of], ir.FunctionType(ir.VoidType(), [bytes_of, number, number, number])
        )
        builder.call(ask, [builder.bitcast(place, bytes_of), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return numba.types.none(array, numba.types.int64), generate


ask_for: Callable[[Any, Int], None] = cast(Any, intrinsic(_ask_for))
"""Ask the memory for a row that will be read soon."""
