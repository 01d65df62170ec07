# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How a list of files is dealt to workers: arithmetic alone.

    files        0 1 2 3 4 5 6        3 workers
    worker 0     0     3     6        `unequal`: one more; else the last one is dropped or refused
    worker 1       1     4
    worker 2         2     5
"""

from typing import List

from epl.errors import ConfigError


def share(count: int, worker: int, workers: int, unequal: bool = False,
          drop_last: bool = False) -> List[int]:
    """The numbers of the files that a worker reads.

    Args:
      count: files in the list.
      worker: rank of the worker.
      workers: how many there are.
      unequal: where the files don't divide evenly, the first workers read one more.
      drop_last: where they don't, nobody reads the last ones.

    Raises:
      ConfigError: too few files, or they don't divide evenly, and nothing says what then.
    """
    if count < workers:
        raise ConfigError(
            "io.slicing: a list of {} file(s) for {} workers: each needs one or more; use at most "
            "{} worker(s), make more files, or leave io.slicing out and divide rows with epl.shard"
            .format(count, workers, count))
    rest = count % workers
    if rest and unequal == drop_last:
        raise ConfigError(
            "io.slicing: a list of {} files for {} workers leaves {} over: {}, or use a multiple "
            "of {} files".format(
                count, workers, rest,
                "set either io.drop_last_files or io.unbalanced_io_slicing, not both" if unequal
                else "set io.drop_last_files = True to drop the last ones, or "
                     "io.unbalanced_io_slicing = True to give some workers one more (and end by a "
                     "number of steps, StopAtStepHook)", workers))
    return list(range(worker, count - (rest if drop_last else 0), workers))
