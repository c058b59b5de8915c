"""Warming compiles every kernel: none is left for the first batch of a lane."""

from __future__ import annotations

import subprocess
import sys

# Of the kernels that plain Python calls, those that were not run. (Those that only kernels call are part of them.)
WARMED = """
import sys
from numba.core.dispatcher import Dispatcher
from cep.warm import run_all
from events.kernel import sources

run_all()
kernels = set(map(str, sources()))
ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] in ("events", "features", "cep")]
plain = [module for module in ours if getattr(module, "__file__", None) not in kernels]
called = {one for module in plain for one in vars(module).values() if isinstance(one, Dispatcher)}
assert len(called) > 15, len(called)
print(*sorted(f"{one.py_func.__module__}.{one.py_func.__name__}" for one in called if not one.signatures))
"""


def test_no_kernel_is_left_to_compile() -> None:
    """In a process of its own: the tests before this one have run kernels too."""
    done = subprocess.run([sys.executable, "-c", WARMED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
