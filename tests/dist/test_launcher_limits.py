# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Time-outs, stalls, restarts and signals of `epl-launch`, with real processes.

The workers report through the real runtime, without TensorFlow: they say what a training would.
"""

import json
import os
import re
import signal
import time

import pytest

from tests.support.launched import SOON_S, WAIT_FOR_CHILD, alive, read, wait_until

REPORTS = """
import os, signal, sys, time
from epl.runtime import stacks
from epl.shared import progress
index = int(os.environ["EPL_WORKER_INDEX"])
attempt = int(os.environ["EPL_RESTART_COUNT"])
directory = os.environ["EPL_OUTPUT_DIR"]
def begin():
    progress.start()
    stacks.start()
    open(os.path.join(directory, "pid"), "w").write("%d\\n" % os.getpid())
def train(steps):
    progress.session_ready()
    for _ in range(steps):
        progress.step_done()
"""


def training(body):
    return REPORTS + body


def test_timeout(start, script):
    job = start(script("wait.sh", WAIT_FOR_CHILD), flags=["--timeout", "1"])
    pids = [job.pid(0), job.pid(1)]
    code, _, err = job.wait()
    assert code == 124
    assert "not done after 1 s (--timeout); ended after" in err
    assert not any(map(alive, pids))


def test_timeout_counts_all_attempts_together(start, script):
    job = start(script("fail.py", training("begin()\ntrain(1)\ntime.sleep(0.5)\nsys.exit(6)")),
                flags=["--timeout", "6", "--max_restarts", "99"])
    code, _, err = job.wait()
    assert code == 124
    assert "not done after 6 s (--timeout)" in err and "restart 1 of at most 99" in err


def test_a_job_that_is_done_in_time_is_no_timeout(start, script):
    flags = ["--timeout", "60", "--start_timeout", "60", "--stall_timeout", "60"]
    assert start(script("ok.sh", "exit 0\n"), flags=flags).wait()[0] == 0


def test_a_stall_names_who_waits_for_what_and_who_does_not(start, script):
    """As it was then: when the job is ended worker 0 loses worker 1, and says so."""
    def hang():
        job = start(script("stall.py", training("""
begin()
train(3)
def reads_a_broken_disk():
    time.sleep(600)
if index == 1:
    reads_a_broken_disk()
def on_end(signum, frame):
    progress.connection_lost()
    sys.exit(1)
signal.signal(signal.SIGTERM, on_end)
progress.waiting("collectives of step 4: grads")
time.sleep(600)""")), flags=["--stall_timeout", "1"])
        return [job.pid(0), job.pid(1)], job

    pids, job = hang()
    code, _, err = job.wait()
    assert code == 124
    box = err[err.index("+--"):]
    assert "stalled: no worker got on for 1 s (--stall_timeout)" in box
    assert "worker 0: 3 step(s) done, waits in collectives of step 4: grads" in box
    assert "worker 1: 3 step(s) done, waits for nobody" in box
    assert "in reads_a_broken_disk" in box
    assert "verdict: worker 1 does not arrive where worker 0 wait(s)" in box
    assert b"reads_a_broken_disk" in read(job.path(1, "stacks.txt"))
    assert not any(map(alive, pids))


def test_a_stopped_worker_is_a_stall_that_ends(start, script):
    job = start(script("stop.py", training("""
begin()
train(1)
if index == 1:
    os.kill(os.getpid(), signal.SIGSTOP)
progress.waiting("step 2")
time.sleep(600)""")), flags=["--stall_timeout", "1"])
    pids = [job.pid(0), job.pid(1)]
    code, _, err = job.wait()
    assert code == 124 and "verdict: worker 1 is stopped" in err
    assert "worker 0: 1 step(s) done, waits in step 2" in err
    assert not any(map(alive, pids))


def test_steps_are_no_stall(start, script):
    job = start(script("slow.py", training("""
begin()
progress.session_ready()
for _ in range(14):
    time.sleep(0.3)
    progress.step_done()
progress.finished()
time.sleep(3.5)""")), flags=["--stall_timeout", "3"])  # a step takes longer on a busy machine
    code, _, err = job.wait()
    assert code == 0, err


def test_a_progress_file_that_cannot_be_read_ends_nothing(start, script):
    """Here and at the next start: the directory that stands in its place is still there then."""
    body = script("unreadable.sh", "mkdir \"$EPL_PROGRESS_FILE\"\nsleep 1\necho went on\n")
    for _ in range(2):
        code, out, err = start(body).wait()
        assert code == 0, err
        assert "went on" in out


def test_a_start_that_takes_too_long_shows_the_stacks(start, script):
    job = start(script("start.py", """if True:
        import time
        def loads_for_ever():
            time.sleep(600)
        loads_for_ever()"""), flags=["--start_timeout", "4"])  # Python has begun by then
    code, _, err = job.wait()
    assert code == 124
    assert "not every worker was ready to train after 4 s (--start_timeout)" in err
    assert "worker 1: has not called epl.init" in err
    for worker in (0, 1):
        assert b"in loads_for_ever" in read(job.path(worker, "stderr.log"))


def test_who_waits_in_init_is_told_from_who_does_not_come(start, script):
    job = start(script("init.py", training("""
def waits_for_others():
    time.sleep(600)
if index != 1:
    progress.start(arriving=True)
    stacks.start()
waits_for_others()""")), workers=3, flags=["--start_timeout", "4"])
    code, _, err = job.wait()
    assert code == 124
    assert "worker 0: not ready to train, waits in epl.init\n" in err
    assert "worker 1: has not called epl.init\n" in err
    assert "verdict: worker 1 does not arrive where worker 0, 2 wait(s)" in err
    for worker in (0, 2):  # they answered, and did not abort
        assert b"in waits_for_others" in read(job.path(worker, "stacks.txt"))


def test_a_worker_that_leaves_early_ends_those_who_wait_for_it(start, script):
    job = start(script("early.py", training("""
begin()
train(2)
if index == 1:
    sys.exit(0)
progress.waiting("step 3")
time.sleep(600)""")))
    pid = job.pid(0)
    code, _, err = job.wait()
    assert code == 1
    assert "worker 1 left early: its script ended before its training was finished" in err
    assert "worker 0: 2 step(s) done, waits in step 3" in err
    assert not alive(pid)


def test_a_worker_that_has_finished_is_not_missed(start, script):
    job = start(script("late.py", training("""
begin()
train(2)
progress.finished()
if index == 0:
    progress.waiting("nothing that worker 1 owes")
    time.sleep(6)
    print("late")""")))
    code, out, err = job.wait()
    assert code == 0, err
    assert out == "[worker 0] late\n"


def test_what_an_earlier_job_said_counts_no_more(start, script):
    """Both have the same log directory; the second is a plain program."""
    first = start(script("first.py", training("begin()\ntrain(1)\nprogress.waiting('x')")))
    assert first.wait()[0] == 0
    assert b"waiting" in read(first.path(0, "progress.json"))
    assert os.path.exists(first.path(0, "stacks.txt"))
    second = start(script("second.sh", "if [ $EPL_WORKER_INDEX = 0 ]; then sleep 6; fi\n"))
    code, _, err = second.wait()
    assert code == 0, err
    assert not os.path.exists(second.path(0, "stacks.txt"))


def test_a_failed_job_is_started_again(start, script):
    job = start(script("again.py", training("""
begin()
train(1)
path = os.path.join(directory, "checkpoint")
found = open(path).read() if os.path.exists(path) else "nothing"
print("attempt", attempt, "finds", found, "on port",
      os.environ["HOROVOD_GLOO_RENDEZVOUS_PORT"])
open(path, "w").write("attempt %d" % attempt)
if index == 0 and attempt < 2:
    sys.exit(5)
time.sleep(600 if attempt < 2 else 0)""")), flags=["--max_restarts", "3"])
    code, out, err = job.wait()
    assert code == 0, err
    for attempt, found in ((0, "nothing"), (1, "attempt 0"), (2, "attempt 1")):
        line = "attempt {} finds {} on port".format(attempt, found)
        assert "[worker 0] " + line in out
        log = os.path.join(job.directory, "attempt_{}".format(attempt), "0", "stdout.log")
        assert read(log).decode().startswith(line)
        assert os.path.exists(os.path.join(job.directory, "attempt_{}".format(attempt),
                                           "combined.log"))
    assert len(set(re.findall(r"on port (\d+)", out))) > 1
    assert err.count("worker 0 exited with code 5 after") == 2
    assert "epl-launch: restart 2 of at most 3" in err
    with open(os.path.join(job.directory, "run.json")) as file:
        record = json.load(file)
    assert record["exit_code"] == 0
    assert [[w["exit_code"] for w in a["workers"]][0] for a in record["attempts"]] == [5, 5, 0]


def test_restarts_have_an_end(start, script):
    job = start(script("never.py", training("begin()\ntrain(1)\nsys.exit(6)")),
                flags=["--max_restarts", "1"])
    code, _, err = job.wait()
    assert code == 6
    assert "not restarted: 1 restart(s) were allowed" in err
    assert os.listdir(job.directory).count("attempt_1") == 1
    assert "attempt_2" not in os.listdir(job.directory)


def test_a_typo_does_not_loop(start, script):
    code, _, err = start(script("typo.py", training("begin()\nimport no_such_module")),
                         flags=["--max_restarts", "9"]).wait()
    assert code == 1
    assert "not restarted: no worker had become ready to train" in err
    assert err.count("+-- epl-launch: worker") == 1


SSH_ONCE = """#!/bin/bash
# Runs its last argument here, as on the other machine; the second time nobody answers.
if [ -e "$0.used" ]; then echo "ssh: no route to host" >&2; exit 255; fi
touch "$0.used"
export SSH_CONNECTION="127.0.0.1 1 127.0.0.2 22"
exec bash -c "${@: -1}"
"""


def test_the_record_has_the_end_of_a_job_whose_machine_does_not_come_back(start, script):
    ssh = script("ssh", SSH_ONCE)
    os.chmod(ssh, 0o755)
    job = start(script("fails.py", training("begin()\ntrain(1)\nsys.exit(5)")), workers=1, flags=[
        "--hosts", "192.0.2.1:1", "--ssh_command", ssh, "--max_restarts", "3"])
    code, _, err = job.wait()
    assert code == 2
    assert "restart 1 of at most 3" in err and "ssh: no route to host" in err
    with open(os.path.join(job.directory, "run.json")) as file:
        record = json.load(file)
    assert record["exit_code"] == 2 and record["end"]
    assert "host 192.0.2.1 cannot be used" in record["error"]
    assert [worker["exit_code"] for worker in record["attempts"][0]["workers"]] == [5]


def test_ctrl_c_is_no_reason_to_start_again(start, script):
    job = start(script("wait.py", training("begin()\ntrain(1)\nprint('up')\ntime.sleep(600)")),
                flags=["--max_restarts", "9"])
    for _ in range(2):
        job.process.stdout.readline()
    job.process.send_signal(signal.SIGINT)
    code, _, err = job.wait()
    assert code == 130 and "restart" not in err


def test_nor_is_ctrl_c_while_a_failed_attempt_is_being_ended(start, script):
    """It does not wait for the grace time, and what failed stays the reason of the exit code."""
    job = start(script("deaf.py", training("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
begin()
train(1)
if index == 1:
    while not os.path.exists(os.path.join(directory, "..", "0", "pid")):
        time.sleep(0.01)
    sys.exit(5)
time.sleep(600)""")), flags=["--max_restarts", "9"])
    for line in job.process.stderr:
        if b"ending worker 0" in line:
            break
    job.process.send_signal(signal.SIGINT)
    code, _, err = job.wait()
    assert code == 5
    assert "not restarted: interrupted by SIGINT (2)" in err and "restart 1" not in err


HANDLES = """
    trap 'echo got {0} >> $EPL_OUTPUT_DIR/got' {0}
    echo $$ > $EPL_OUTPUT_DIR/pid
    until [ -e $EPL_OUTPUT_DIR/../go ]; do sleep 0.02; done
"""


@pytest.mark.parametrize("name", ["USR1", "USR2"])
def test_signals_are_passed_on(start, script, name):
    """To the handlers; a process that has none, like worker 1's, does not die of it."""
    job = start(script("trap.sh", "if [ $EPL_WORKER_INDEX = 1 ]; then trap() { :; }; fi\n"
                       + HANDLES.format(name)))
    pids = [job.pid(0), job.pid(1)]
    job.process.send_signal(getattr(signal, "SIG" + name))
    wait_until(lambda: os.path.exists(job.path(0, "got")))
    assert all(map(alive, pids))
    open(os.path.join(job.directory, "go"), "w").close()
    code, _, err = job.wait()
    assert code == 0
    assert "SIG{} ({}) passed on".format(name, int(getattr(signal, "SIG" + name))) in err
    assert not os.path.exists(job.path(1, "got"))


def test_sighup_is_passed_on_too(start, script):
    job = start(script("hup.sh", HANDLES.format("HUP")))
    job.pid(0), job.pid(1)
    job.process.send_signal(signal.SIGHUP)
    assert job.wait()[0] == 129
    assert read(job.path(0, "got")) == b"got HUP\n"


@pytest.mark.parametrize("last, expected", [(0, 0), (3, 143)])
def test_sigterm_asks_for_a_stop(start, script, last, expected):
    """Exit code 0 if all workers then stop by themselves, with 0."""
    job = start(script("save.py", """if True:
        import os, signal, sys, time
        directory = os.environ["EPL_OUTPUT_DIR"]
        def save(*_):
            time.sleep(0.3)
            open(os.path.join(directory, "saved"), "w").close()
            sys.exit({} if os.environ["EPL_WORKER_INDEX"] == "1" else 0)
        signal.signal(signal.SIGTERM, save)
        open(os.path.join(directory, "pid"), "w").write("%d\\n" % os.getpid())
        time.sleep(600)""".format(last)))
    job.pid(0), job.pid(1)
    job.process.send_signal(signal.SIGTERM)
    code, _, err = job.wait()
    assert code == expected, err
    assert os.path.exists(job.path(0, "saved")) and os.path.exists(job.path(1, "saved"))
    assert ("all workers stopped after SIGTERM (15), done" in err) == (expected == 0)


def test_a_job_ends_soon_after_a_worker_died(start, script):
    """Also when the others take the first SIGTERM for a wish that they cannot fulfil any more."""
    job = start(script("die.py", training("""
begin()
progress.stops_at_sigterm(True)
wishes = []
def wish(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    wishes.append(1)
signal.signal(signal.SIGTERM, wish)
train(1)
progress.waiting("step 2")
while True:
    time.sleep(0.1)""")))
    pids = [job.pid(0), job.pid(1)]
    wait_until(lambda: b'"waiting"' in read(job.path(0, "progress.json")))
    time.sleep(0.5)  # the launcher looks five times a second
    os.kill(pids[1], signal.SIGKILL)
    assert job.wait()[0] == 137  # before the grace time is over
    assert not any(map(alive, pids))


def test_forked_children_of_the_first_to_fail_do_not_survive(start, script):
    job = start(script("fork.py", """if True:
        import os, sys, time
        directory = os.environ["EPL_OUTPUT_DIR"]
        if os.environ["EPL_WORKER_INDEX"] == "0":
            time.sleep(600)
        for child in range(3):
            if os.fork() == 0:
                path = os.path.join(directory, "pid%d" % child)
                open(path, "w").write("%d\\n" % os.getpid())
                time.sleep(600)
        while not all(os.path.exists(os.path.join(directory, "pid%d" % c)) for c in range(3)):
            time.sleep(0.01)
        os._exit(4)"""))
    code, _, _ = job.wait(SOON_S)
    assert code == 4
    assert not any(alive(job.pid(1, "pid{}".format(child))) for child in range(3))
