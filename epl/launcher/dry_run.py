# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The text of `--dry_run`: what would be started, from the plans that a real run starts."""

import os
import shlex
from typing import Collection, List, Mapping, Sequence

from epl.communicators.horovod.variables import RENDEZVOUS_PORT
from epl.launcher import cores
from epl.launcher.plan import LOCAL, WorkerPlan, process_environment


def describe(plans: Sequence[WorkerPlan], inherited: Mapping[str, str],
             available: Collection[int]) -> str:
    """One block of lines for every worker.

    Args:
      plans: the workers.
      inherited: this machine's environment.
      available: the cores of this machine.
    """
    lines: List[str] = []
    for plan in plans:
        lines.append("worker {} on {}".format(plan.worker, plan.host))
        lines.append("  command    " + " ".join(shlex.quote(word) for word in plan.command))
        lines.append("  directory  " + plan.working_directory)
        lines.append("  devices    " + _devices(plan))
        lines.append("  cores      " + _cores(plan, available))
        lines.append("  outputs    " + plan.directory)
        lines.append("  logs       " + ("the terminal (--debug)" if plan.terminal else
                                        os.path.join(plan.log_directory, "stdout.log, stderr.log")))
        variables = dict(_variables(plan, inherited, available))
        if RENDEZVOUS_PORT in variables:
            variables[RENDEZVOUS_PORT] = "(chosen at the start)"
        lines.append("  environment")
        lines.extend("    {}={}".format(name, shlex.quote(variables[name]))
                     for name in sorted(variables))
    return "\n".join(lines)


def _devices(plan: WorkerPlan) -> str:
    count = plan.environment["EPL_GPU_PER_WORKER"]
    if plan.environment["EPL_DEVICE_TYPE"] == "gpu":
        return "GPU " + plan.environment["CUDA_VISIBLE_DEVICES"]
    return "{} virtual CPU device(s)".format(count)


def _cores(plan: WorkerPlan, available: Collection[int]) -> str:
    if plan.host != LOCAL:
        return "its share of the machine's, bound" if plan.bind else "all of the machine, shared"
    if plan.bind:
        return cores.as_ranges(cores.share(available, plan.local_index, plan.local_size))
    return "{}, shared by {} worker(s)".format(cores.as_ranges(available), plan.local_size)


def _variables(plan: WorkerPlan, inherited: Mapping[str, str],
               available: Collection[int]) -> Mapping[str, str]:
    """Those that are set or changed; on another machine only that machine knows what changes."""
    if plan.host != LOCAL:
        return plan.environment
    variables = process_environment(plan, inherited, available)
    return {name: value for name, value in variables.items()
            if name in plan.environment or inherited.get(name) != value}
