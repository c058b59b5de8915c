"""A worker process whose machine is `BigAmounts`: `python -m tests.chaos.worker_main TOPIC`, settings by variables."""

from __future__ import annotations

import os
import sys

from cep.settings import load
from cep.worker import Engine, run_worker
from tests.chaos.machine import BigAmounts

if __name__ == "__main__":
    sys.exit(run_worker(load(None, os.environ), os.environ, Engine((sys.argv[1],), BigAmounts)))
