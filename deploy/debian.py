"""Programs that this machine lacks, by apt-get when we are root; else an error that says what to install."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from deploy.kind import ServiceError
from deploy.processes import last_lines, run, say

POLICY = Path("/usr/sbin/policy-rc.d")  # asked by Debian before a package starts its server


def obtain(missing: Callable[[], dict[str, str]], reason: str, otherwise: str) -> None:
    """Installs what is missing, program → Debian packages. ServiceError, with what else there is to do: it can't."""
    found = missing()
    if not found:
        return
    packages = " ".join(found.values())
    why = f"{reason}there is no program {', '.join(found)}"
    remedy = f"Install it (Debian: apt-get install {packages}), {otherwise}."
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        said = "this user is not root" if shutil.which("apt-get") else "this is not Debian"
        raise ServiceError(f"{why}; it can't be installed from here, {said}.\n{remedy}")
    say(f"installing {packages} (apt-get)")
    output = apt_install(packages.split())
    if missing():
        raise ServiceError(f"{why}; apt-get could not install {packages}:\n{last_lines(output)}\n{remedy}")


def browser() -> tuple[str, str]:
    """Chromium and its driver, for tests that look at pages: their paths. ServiceError: they can't be had."""
    programs = {"chromium": "chromium", "chromedriver": "chromium-driver"}

    def missing() -> dict[str, str]:
        return {program: package for program, package in programs.items() if not shutil.which(program)}

    obtain(missing, "browser: ", "or run the tests that need none: pytest --ignore tests/browser")
    chromium, driver = (shutil.which(program) for program in programs)
    assert chromium, "obtained above"
    assert driver, "obtained above"
    return chromium, driver


def apt_install(packages: list[str]) -> str:
    """Installs, and keeps the packages from starting servers of their own, by Debian's switch for that.

    The switch is a script; one of the machine's own is left as it is. Ours says no only as long as this process lives.
    """
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text(
            f"#!/bin/sh\n# Made by {Path(__file__).name}\n[ -d /proc/{os.getpid()} ] && exit 101\nexit 0\n"
        )
        POLICY.chmod(0o755)
    try:
        patient = ["-o", "DPkg::Lock::Timeout=300"]
        updated = run(["apt-get", *patient, "update"])
        shape = ["install", "--yes", "--no-install-recommends"]
        installed = run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *patient, *shape, *packages])
        return updated.stdout + installed.stdout
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
