"""The wheel is all that an image holds of the project: it must run alone, without the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from cep.storage.migrate import head

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (
    "alembic/env.py",
    "alembic/versions/*.py",
    "examples/streams/*.yaml",
    "examples/patterns/*.yaml",
    "examples/views/*.yaml",
)


def run(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, so that nothing is left in it; with the setuptools of the lock, from no index."""
    folder = tmp_path_factory.mktemp("wheel")
    skipped = shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "bench", "docs", "__pycache__")
    shutil.copytree(ROOT, folder / "tree", ignore=skipped)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    run(sys.executable, "-m", "pip", "wheel", *options, folder / "tree", cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """An environment that holds the wheel alone, and finds the packages it depends on in the one of the tests."""
    home = wheel.parent / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=wheel.parent)
    python = home / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=wheel.parent)
    (packages,) = home.glob("lib/python3*/site-packages")
    # A line of a .pth adds the folder, and doesn't read the .pth files in it: no editable installation comes along.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return home / "bin" / "stakeout"


def test_the_wheel_holds_what_the_commands_read(wheel: Path) -> None:
    """All migrations and all examples that a command asks for, whatever is added to the tree."""
    inside = zipfile.ZipFile(wheel).namelist()
    wanted = [path.relative_to(ROOT) for pattern in SHIPPED for path in ROOT.glob(pattern)]
    assert len(wanted) > 5
    missing = [str(path) for path in wanted if not any(name.endswith(f"/share/stakeout/{path}") for name in inside)]
    assert missing == []


def test_the_wheel_runs_without_the_tree(installed: Path, tmp_path: Path) -> None:
    """Help, migrations on SQLite, and a look around; and it is the wheel's code that ran."""
    assert "worker" in run(installed, "--help", cwd=tmp_path).stdout
    where = run(installed.parent / "python", "-c", "import cep; print(cep.__file__)", cwd=tmp_path).stdout
    assert where.startswith(str(installed.parents[1]))
    database = {"STAKEOUT_EMBEDDED_PATH": str(tmp_path / "log.db"), "STAKEOUT_KAFKA": "", "STAKEOUT_POSTGRES": ""}
    assert str(head()) in run(installed, "db", "upgrade", cwd=tmp_path, **database).stdout
    streams = run(
        installed.parent / "python", "-c", "from cep.cli.documents import EXAMPLES; print(EXAMPLES)", cwd=tmp_path
    ).stdout.strip()
    looked = run(installed, "doctor", "--streams", f"{streams}/streams", cwd=tmp_path, **database).stdout
    assert "transactions" in looked
    assert "at revision" in looked
