"""The rules of the house that neither ruff nor mypy can check. A failure lists every place and says what to do.

(Docstrings, `print`, pickle, paths and dates are ruff's: see pyproject.toml.)
"""

from __future__ import annotations

import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

PYTHON_LINES_MAX = 1_000
FILE_BYTES_MAX = 1 << 20

# A name that tells nothing of what is inside collects whatever has no place.
EMPTY_NAMES = {"base", "common", "core", "helper", "helpers", "misc", "shared", "util", "utils"}

# Where an address in the tree may lead: this machine, names reserved for examples, specifications and literature.
# A page is served without a content network, and a lock names no index, so nothing else belongs here unread.
HOSTS = {
    "localhost",
    "127.0.0.1",
    "[::1]",
    "0.0.0.0",
    "host",  # as in redis://host:port/0
    "redis",  # services of docker-compose.yml, on its own network
    "postgres",
    "arxiv.org",
    "doi.org",
    "docs.oasis-open.org",
    "flink.apache.org",
    "json-schema.org",
    "kafka.apache.org",
    "keepachangelog.com",
    "maven.apache.org",  # the namespace of a POM
    "semver.org",
    "www.apache.org",  # the licence
    "www.rfc-editor.org",
    "www.w3.org",
}
RESERVED = re.compile(r"(^|\.)(example\.(com|org|net)|example|invalid|test|localhost)$")

URL = re.compile(r"\b[a-z][a-z0-9+.]*://(?:[^@/\s\"'<>]*@)?(\[[0-9a-f:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)")
INDEX_OPTION = re.compile(r"--(?:extra[-])?index[-]url|--find[-]links|--trusted[-]host")
HOME_PATH = re.compile(r"(?:^|[^\w.])/(?:home|root|Users|work|farm|mnt|media)/[\w.]|\b[A-Z]:\\\w")

IGNORE = re.compile(
    r"#\s*(?:type:\s*ignore|noqa)\b(?::?\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?(?:\[[^\]]*\])?(?P<reason>.*)"
)


@cache
def tree() -> tuple[Path, ...]:
    """Every file of the repository, also those that aren't committed yet; nothing that git ignores."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return tuple(sorted(path for name in names if (path := ROOT / name).is_file()))


def python_files() -> list[Path]:
    return [path for path in tree() if path.suffix == ".py"]


def lines() -> Iterator[tuple[str, str]]:
    """Each line of each text in the tree, with its place as `file:line`."""
    for path in tree():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def refuse(problems: list[str], remedy: str) -> None:
    if problems:
        pytest.fail("\n".join([remedy, *problems]), pytrace=False)


def test_imports_run_against_the_data() -> None:
    run = subprocess.run([BIN / "lint-imports", "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    refuse([run.stdout, run.stderr] * (run.returncode != 0), "Imports run api → cep → models → features → events:")


def test_a_file_is_named_for_what_is_in_it() -> None:
    problems = [
        f"{path.relative_to(ROOT)}: '{part}'"
        for path in python_files()
        for part in (*path.relative_to(ROOT).parts[:-1], path.stem)
        if part in EMPTY_NAMES
    ]
    refuse(problems, "Name the file after the sentence that a stranger would search for:")


def test_a_file_has_one_subject_and_so_an_end() -> None:
    counted = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in python_files())
    problems = [f"{path.relative_to(ROOT)}: {count} lines" for path, count in counted if count > PYTHON_LINES_MAX]
    refuse(problems, f"More than {PYTHON_LINES_MAX} lines are more than one subject. Find the seam:")


def test_the_tree_holds_sources_not_data() -> None:
    sized = ((path, path.stat().st_size) for path in tree())
    problems = [f"{path.relative_to(ROOT)}: {size} bytes" for path, size in sized if size > FILE_BYTES_MAX]
    refuse(problems, "Make data from a seed, or fetch it when it is needed:")


def test_addresses_lead_to_known_hosts_only() -> None:
    problems = [
        f"{where}: {host}"
        for where, line in lines()
        for host in URL.findall(line)
        if host not in HOSTS and not RESERVED.search(host)
    ]
    problems += [f"{where}: {line.strip()}" for where, line in lines() if INDEX_OPTION.search(line)]
    refuse(problems, "Take the address out, or add its host to HOSTS here if it is a specification or a paper:")


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    problems = [f"{where}: {line.strip()}" for where, line in lines() if HOME_PATH.search(line)]
    refuse(problems, "Make the path relative to the file, or an argument:")


def test_whoever_silences_a_check_says_why() -> None:
    problems = []
    for path in python_files():
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                found = IGNORE.match(token.string) if token.type == tokenize.COMMENT else None
                if found and len(re.findall(r"\w+", found["reason"])) < 2:
                    problems.append(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    refuse(problems, "Write the reason behind it, on the same line:")


def test_alembic_is_a_folder_and_not_a_package() -> None:
    problems = [str(path.relative_to(ROOT)) for path in (ROOT / "alembic").rglob("__init__.py")]
    refuse(problems, "It would hide the library of that name. Delete it:")


def test_every_room_is_installed() -> None:
    """The editable installation sees all folders, so that a package missing from the list shows only in a wheel."""
    found = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in tree() if path.name == "__init__.py"}
    found = {name for name in found if name.partition(".")[0] not in {"bench", "tests"}}
    problems = sorted(found.symmetric_difference(settings()["tool"]["setuptools"]["packages"]))
    refuse(problems, "Packages and [tool.setuptools] packages in pyproject.toml differ:")


@pytest.mark.parametrize("lock", ["run", "dev"])
def test_a_lock_holds_what_the_project_asks_for_by_hash_and_nothing_else(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    known = re.compile(r" *#.*|[\w.-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?|")
    problems = [line for line in text.splitlines() if not known.fullmatch(line)]
    pinned = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    }
    declared = settings()["project"]
    optional = [wish for wishes in declared["optional-dependencies"].values() for wish in wishes]
    for wish in map(Requirement, declared["dependencies"] + optional * (lock == "dev")):
        version = pinned.get(canonicalize_name(wish.name))
        if version is None or version not in wish.specifier:
            problems.append(f"{wish}: {version or 'missing'}")
    refuse(problems, f"requirements/{lock}.txt isn't what `make lock` writes:")


def commands(program: str) -> set[tuple[str, str]]:
    """(page, words) of each `program words …` in the pages' code: up to two words, before options and arguments."""
    code = re.compile(r"^```.*?\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
    call = re.compile(rf"^ *(?:\$ )?(?:\.venv/bin/)?{program}((?: [a-z]+(?![\w/.=-])){{1,2}})", re.MULTILINE)
    return {
        (str(page.relative_to(ROOT)), words.strip())
        for page in tree()
        if page.suffix == ".md"
        for block, span in code.findall(page.read_text(encoding="utf-8"))
        for words in call.findall(block or span)
    }


def test_the_pages_name_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = commands("make")
    assert found, "no page names a make target: has the pattern rotted?"
    problems = [f"{page}: make {words}" for page, words in sorted(found) if not targets.issuperset(words.split())]
    refuse(problems, "Not in the Makefile:")


def test_the_pages_name_commands_that_stakeout_has() -> None:
    found = commands("stakeout")
    assert found, "no page names a command: has the pattern rotted?"
    problems = []
    for words in sorted({words for _, words in found}):
        run = subprocess.run([BIN / "stakeout", *words.split(), "--help"], capture_output=True, text=True)
        if run.returncode != 0:
            problems.append(f"stakeout {words}: {(run.stderr or run.stdout).strip()[-300:]}")
    refuse(problems, "No such command:")
