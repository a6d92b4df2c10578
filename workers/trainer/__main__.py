"""The trainer process for one attempt at one run: `python -m workers.trainer RUN TOKEN ATTEMPT`.

It runs one turn of the loop and stores the result of each stage, so that another attempt continues
from there. It publishes the outcome in one transaction under the run's fencing token. Exit code 0:
the run has ended, or belongs to another claim. Any other: another attempt may follow.
"""

from __future__ import annotations

import argparse
import os
import sys

import structlog
import torch

from acclimate.logs import configure
from acclimate.parent_death import die_with_parent
from acclimate.settings import server_settings
from acclimate.storage.runs.runs import Claim, LeaseLost
from workers.trainer.attempt import Trainer

log = structlog.get_logger()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("token", type=int)
    parser.add_argument("attempt", type=int)
    arguments = parser.parse_args()
    die_with_parent()
    settings = server_settings()
    configure(settings.log_level, process="trainer", run=arguments.run, attempt=arguments.attempt)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    torch.use_deterministic_algorithms(True, warn_only=True)
    claim = Claim(run_id=arguments.run, token=arguments.token, attempt=arguments.attempt)
    try:
        Trainer(settings, claim).work()
    except LeaseLost:
        log.warning("the run belongs to another claim; nothing was published")
    except Exception:
        log.exception("the attempt failed")
        sys.exit(1)


if __name__ == "__main__":
    main()
