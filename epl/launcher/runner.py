# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One job from its options to its exit code: its attempts, one after the other."""

import contextlib
import os
import resource
import socket
import sys
import time
from datetime import datetime
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence

from epl.communicators.horovod.rendezvous import NOWHERE, Meeting, serve_rendezvous
from epl.errors import ConfigError
from epl.launcher import dry_run, events, report, restart
from epl.launcher.choice import make_provider
from epl.launcher.console import Console, wants_colour
from epl.launcher.directories import (
    default_name,
    make_directories,
    make_log_dir,
    warning_of,
)
from epl.launcher.host import Allocation
from epl.launcher.job import FORWARDED_SIGNALS, Job, Limits, Phase
from epl.launcher.options import USAGE_CODE, Options
from epl.launcher.plan import LOCAL, WorkerPlan, addresses, plan_workers
from epl.launcher.program import check_program
from epl.launcher.provider import HostProvider
from epl.launcher.record import Record
from epl.launcher.signals import signal_news
from epl.launcher.sinks import Sinks
from epl.launcher.supervisor import Supervisor
from epl.shared import secret

_OWN_DESCRIPTORS, _DESCRIPTORS_PER_WORKER = 24, 4  # of a launcher


class _Attempt(NamedTuple):
    """How an attempt went."""

    outcome: events.Outcome
    became_ready: bool
    interrupted_by: int
    exit_codes: Any
    words: str


class Runner:
    """Runs one job; `run` is called once, in the main thread.

    Args:
      options: the command line, with the number of workers filled in.
      arguments: the command line as typed, for `run.json`.
    """

    def __init__(self, options: Options, arguments: Sequence[str]):
        self._options = options
        self._arguments = arguments
        self._begin = time.monotonic()
        self._stdout, self._stderr = Console(1), Console(2)
        self._colour = (wants_colour(self._stdout, os.environ),
                        wants_colour(self._stderr, os.environ))
        self._noted = False

    def run(self) -> int:
        """Start the job, wait for its end, and start it again where that is wanted.

        Returns:
          The exit code.

        Raises:
          ConfigError: it cannot be started.
        """
        check_program(self._options, os.environ.get("PATH"))
        with contextlib.ExitStack() as stack:
            stack.callback(self._flush)
            provider = make_provider(self._options, self._stderr.say)
            stack.callback(provider.close)
            if self._options.dry_run:
                code = self._dry_run(provider)
            else:
                code = self._attempts(provider, stack.enter_context(signal_news()))
        return code

    def _flush(self) -> None:
        self._stdout.flush()
        self._stderr.flush()

    def _dry_run(self, provider: HostProvider) -> int:
        allocation = provider.allocate(0)
        log_dir = os.path.abspath(self._options.log_dir
                                  or default_name(self._options, datetime.now()))
        plans = plan_workers(self._options, log_dir, allocation.placement, allocation.devices,
                             Meeting(allocation.address, 0, ""), sys.executable)
        self._note(allocation.devices.note)
        self._stdout.say(dry_run.describe(plans, os.environ, os.sched_getaffinity(0)))
        return 0

    def _attempts(self, provider: HostProvider, news: socket.socket) -> int:
        allocation = provider.allocate(0, news)
        log_dir = make_log_dir(self._options, datetime.now())
        warning = warning_of(log_dir)
        if warning:
            self._stderr.say("epl-launch: " + warning)
        record = Record(log_dir, self._arguments, self._stderr.say)
        attempt = 0
        while True:
            with _end_in(record):
                if attempt:
                    allocation = provider.allocate(attempt, news)
                result = self._attempt(attempt, allocation, log_dir, record, news)
            again = restart.decide(result.outcome, result.became_ready, attempt,
                                   self._options.max_restarts, result.interrupted_by)
            record.attempt_ended(report.cause(result.outcome), result.exit_codes)
            self._stderr.say(result.words)
            if again.reason:
                self._stderr.say("epl-launch: " + again.reason)
            provider.conclude(result.outcome.exit_code, report.cause(result.outcome),
                              again.restart)
            if not again.restart:
                record.ended(result.outcome.exit_code)
                return result.outcome.exit_code
            attempt += 1
            self._stderr.say("epl-launch: restart {} of at most {}".format(
                attempt, self._options.max_restarts))

    def _attempt(self, attempt: int, allocation: Allocation, log_dir: str, record: Record,
                 news: socket.socket) -> _Attempt:
        begin = time.monotonic()
        with contextlib.ExitStack() as stack:
            meeting = stack.enter_context(_rendezvous(allocation))
            plans = plan_workers(self._options, log_dir, allocation.placement, allocation.devices,
                                 meeting, sys.executable, attempt)
            make_directories([plan.log_directory for plan in plans])
            self._note(allocation.devices.note)
            sinks = Sinks(plans, self._stdout, self._stderr, self._options.tee, self._colour)
            stack.callback(sinks.close)
            hosts = [_host_in_words(plan) for plan in plans]
            record.attempt_begins(plans, hosts)
            supervisor = Supervisor(allocation.hosts, plans, self._limits(), sinks, news,
                                    self._announce)
            outcome = supervisor.run()
        job = supervisor.job
        tails = {plan.worker: sinks.tail(plan.worker) for plan in plans}
        evidence = report.Evidence(os.path.dirname(plans[0].log_directory), hosts, tails,
                                   job.returncodes, job.status, supervisor.stacks, job.stalled,
                                   job.stalled_status, supervisor.stopped)
        seconds = time.monotonic() - begin
        checked = self._checked(outcome)
        words = "epl-launch: {} in {:.1f} s; logs in {}".format(
            checked, seconds, evidence.log_dir) if checked else report.closing(
                outcome, seconds, evidence)
        return _Attempt(outcome, job.became_ready, job.interrupted_by,
                        report.exit_codes(job.returncodes),
                        words)

    def _checked(self, outcome: events.Outcome) -> str:
        """What a check found, if that ended the job."""
        return report.checked(outcome) if self._options.check else ""

    def _limits(self) -> Limits:
        options = self._options
        return Limits(options.grace, options.timeout, options.start_timeout,
                      options.stall_timeout, time.monotonic() - self._begin,
                      patient=options.debug)

    def _note(self, note: Optional[str]) -> None:
        """What there is to say about devices, once."""
        if note and not self._noted:
            self._noted = True
            self._stderr.say("epl-launch: " + note)

    def _announce(self, job: Job, actions: List[events.Action]) -> None:
        passed_on = sorted({action.signum for action in actions
                            if isinstance(action, events.SignalGroup)
                            and action.signum in FORWARDED_SIGNALS})
        for signum in passed_on:
            self._stderr.say("epl-launch: {} passed on to the workers' processes that handle it"
                             .format(report.signal_name(signum)))
        if job.phase is Phase.DUMPING and job.outcome is not None:
            self._stderr.say("epl-launch: {}; asking for stacks".format(report.cause(job.outcome)))
        if job.phase is Phase.ENDING and job.outcome is not None and not passed_on \
                and not isinstance(job.outcome, events.Succeeded) \
                and not self._checked(job.outcome):
            self._stderr.say(report.ending(job.outcome, job.running, self._options.grace))


@contextlib.contextmanager
def _end_in(record: Record) -> Iterator[None]:
    """Note in `record` when the job cannot be started, or is interrupted before it is."""
    try:
        yield
    except ConfigError as error:
        record.broken_off(USAGE_CODE, str(error))
        raise
    except SystemExit as error:
        record.broken_off(int(error.code or 0), "interrupted")
        raise


@contextlib.contextmanager
def _rendezvous(allocation: Allocation) -> Iterator[Meeting]:
    """Where the workers of an attempt meet; one worker needs no rendezvous."""
    if len(allocation.placement) == 1:
        yield NOWHERE
        return
    key = secret.draw()
    names = addresses(allocation.placement, allocation.address)
    server = serve_rendezvous(None, names, allocation.address, key)
    try:
        yield Meeting(allocation.address, server.port, key)
    finally:
        server.stop()


def _host_in_words(plan: WorkerPlan) -> str:
    return socket.gethostname() if plan.host == LOCAL else plan.host


def _check_descriptors(workers: int) -> None:
    """Raises ConfigError if pipes and logs of so many workers cannot all be open."""
    needed = _OWN_DESCRIPTORS + _DESCRIPTORS_PER_WORKER * workers
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ConfigError("Too many open files for a limit of {}: {} worker(s) need {}; raise it "
                          "(ulimit -n {})".format(limit, workers, needed, needed))


def run(options: Options, arguments: Sequence[str]) -> int:
    """Run the job of `options`; returns its exit code. Raises ConfigError."""
    _check_descriptors(options.num_workers)
    if options.machine_rank and not options.dry_run:
        from epl.launcher.follow import follow
        return follow(options)
    return Runner(options, arguments).run()


