# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch`: starts the workers of a job, watches them, and ends them together.

    cli         command line and entry point
    devices     which GPUs each worker gets
    plan        command, environment and directory of every worker: pure data
    directories where its logs and outputs go
    rendezvous  where Horovod's workers find each other
    events      what the state machine is told, what it answers, how a job ends
    job         the state machine: the decisions, without processes, clocks or files
    process     one worker as operating-system process group
    guard       ends the workers when the launcher itself is killed
    output      from the workers' pipes to terminal and log files
    supervisor  the loop that feeds events to `job` and carries out its actions
    report      the words printed at the start and at the end

Nothing here imports TensorFlow.
"""
