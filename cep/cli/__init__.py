"""The command `stakeout`: what it says and understands is in `arguments`, what it does in the files beside it."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence

from events.errors import StakeoutError

EXIT_ERROR = 2
"""Something in what was asked is wrong; standard error says what, where, what was found and what to do."""

EXIT_INTERRUPTED = 130

GARBAGE = 100_000
"""New objects after which garbage is looked for: modules and documents make few that go, and a start has a million."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; answers the exit code."""
    from cep.cli.arguments import run

    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)  # the interpreter ends by collecting garbage once more: 0.3 s where Numba was imported
    try:
        return run(arguments)
    except StakeoutError as error:
        sys.stderr.write(f"stakeout: {error}\n")
        return EXIT_ERROR
    except BrokenPipeError:
        sys.stderr.close()  # else the interpreter complains once more at its end
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
