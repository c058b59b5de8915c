"""Where the folders lie that travel with the project without being packages: `alembic` and `examples`.

In the source tree beside the packages; from a wheel under share/stakeout/ of the environment. (`alembic/` among the
packages would hide the library of that name.)
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """The folder of that name; in the tree if `pyproject.toml` shows that this is one. It may be missing."""
    if (TREE / "pyproject.toml").is_file():
        return TREE / name
    return Path(sysconfig.get_path("data")) / "share" / "stakeout" / name
