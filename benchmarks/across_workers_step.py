# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker of `across_workers.py`: runs blocks of training steps when files ask for them.

Usage: across_workers_step.py SETTINGS FOLDER
SETTINGS is JSON, those of `pipeline_step.build` and `pinned`: each worker has a core of its own.
Worker 0 first writes what `epl.explain()` prints, as `explained` in the folder. A file `go.<n>`
holds the number of steps of block n; `done.<n>.<rank>` then the seconds that they took. A block of
0 steps ends the worker.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import epl  # noqa: E402
from benchmarks import measuring, pipeline_step  # noqa: E402


def main(settings, folder):
    rank = int(os.environ.get("EPL_WORKER_INDEX", "0"))
    cores = sorted(os.sched_getaffinity(0))
    if settings["pinned"]:
        cores = [cores[rank % len(cores)]]
    os.sched_setaffinity(0, cores)
    op = pipeline_step.build(settings)
    if rank == 0:
        measuring.put(os.path.join(folder, "explained"), epl.explain())
    session = pipeline_step.open_session(len(cores))
    number, steps = 0, pipeline_step.WARM_UP
    while steps:
        measuring.put(os.path.join(folder, "done.{}.{}".format(number, rank)),
                      pipeline_step.timed(session, op, steps))
        number += 1
        steps = measuring.take(os.path.join(folder, "go.{}".format(number)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
