# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch`: starts the workers of a job, watches them, and ends them together.

what was asked for
    cli          command line and entry point
    options      the command line, checked
    variables    --env and --env_file
what will run
    program      what a script, a module or a program is started with
    devices      which GPUs each worker gets
    cores        which cores
    plan         command, environment and directories of every worker: pure data
    dry_run      the plans in words
    directories  where logs and outputs go
decisions, without processes, clocks or files
    events       what the state machine is told, what it answers, how a job ends
    job          the state machine of one attempt
    restart      whether another attempt follows
    stall        who waits for whom when nothing moves
    tracebacks   which workers failed alike
    report       the words in which all that is told
a machine
    host         the interface to where workers run
    local        this machine
    process      one worker as operating-system process group
    watchdog     ends the workers when the launcher itself is killed
other machines
    provider     which machines a job has
    hostfile     --hosts, --hostfile, --machine_list
    preflight    what all machines must have in common
    ssh, agent   machines reached by ssh, and the program that runs there
    join, follow machines on which somebody started epl-launch too
    handshake    whether two of them have the same secret
    channel      what two of them say to each other
    remote       the interface `host`, over a channel
output
    lines        lines out of bytes
    console      the launcher's stdout and stderr, which never make anybody wait
    sinks        log files and consoles of every worker
    record       run.json
one job
    signals      signals to the launcher, as news
    supervisor   the loop that feeds events to `job` and carries out its actions
    runner       from options to exit code: the attempts, one after the other

Nothing here imports TensorFlow.
"""
