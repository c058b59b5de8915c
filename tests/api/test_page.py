"""The commands of docs/api.md run, in order, and answer what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from tests.api.world import ROOT, World, eventually

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.fixture
def address(world: World) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(world.client.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_commands_of_the_page_answer_what_it_says(address: str) -> None:
    blocks = [block for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "curl" in block]
    separated = re.sub(r"(curl .*?)( +# .*)?$", r"\1 && echo", "\n".join(blocks), flags=re.MULTILINE)
    run = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", separated],
        cwd=ROOT,
        env={"S": address, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr + run.stdout
    told = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [each["decision"] for each in told if "decision" in each] == ["approve", "review"]
    assert [each["count"] for each in told if "count" in each] == [2]
    assert any(each.get("applied") is not None for each in told)
