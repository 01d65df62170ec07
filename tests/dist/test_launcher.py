# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch` with real processes: exits, signals, and nothing left behind."""

import os
import signal
import socket
import subprocess
import time

import pytest

from tests.support.jobs import environment_for
from tests.support.launched import LAUNCH, WAIT_FOR_CHILD, alive, stop, wait_until


def test_success(start, script):
    code, out, err = start(script("ok.sh", "echo out $EPL_WORKER_INDEX\n")).wait()
    assert code == 0
    assert sorted(out.splitlines()) == ["[worker 0] out 0", "[worker 1] out 1"]
    assert "epl-launch: done in" in err and "/logs" in err.splitlines()[-1]
    assert "no GPU" in err and "virtual CPU device" in err


@pytest.mark.parametrize("body, expected, words", [
    ("exit 7", 7, "worker 1 exited with code 7"),
    ("kill -KILL $$", 137, "worker 1 died by signal SIGKILL (9)"),
    ("kill -SEGV $$", 139, "worker 1 died by signal SIGSEGV (11)"),
    ("bash -c 'kill -ABRT $$'; exit $?", 134, "exited with code 134 (128 + 6: SIGABRT (6))"),
])
def test_a_failed_worker_ends_the_job_with_its_code(start, script, body, expected, words):
    job = start(script("fail.sh", """
        if [ $EPL_WORKER_INDEX = 0 ]; then echo $$ > $EPL_OUTPUT_DIR/pid; exec sleep 600; fi
        until [ -s $EPL_OUTPUT_DIR/../0/pid ]; do sleep 0.01; done
        echo "the reason" >&2
        """ + body + "\n"))
    code, _, err = job.wait()
    assert code == expected
    before, box = err[:err.index("+--")], err[err.index("+--"):]
    assert words + "; ending worker 0 (SIGKILL after 30 s)\n" in before
    assert words in box and "|       the reason" in box and "/logs/1" in box
    assert "|   on host {}\n".format(socket.gethostname()) in box
    assert not alive(job.pid(0))


def test_the_job_ends_soon_after_a_death(start, script):
    """Without the grace time, which `wait` would not have the patience for."""
    job = start(script("wait.sh", WAIT_FOR_CHILD))
    pids = [job.pid(0), job.pid(1)]
    bash = int(subprocess.check_output(["ps", "-o", "ppid=", str(pids[1])]))
    os.kill(bash, signal.SIGKILL)
    assert job.wait()[0] == 137
    assert not any(map(alive, pids))


def test_a_worker_that_is_done_early_is_waited_for(start, script):
    code, out, _ = start(script("wait.sh", """
        if [ $EPL_WORKER_INDEX = 1 ]; then sleep 0.7; echo late; fi\n""")).wait()
    assert code == 0
    assert out == "[worker 1] late\n"


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace_time(start, script):
    job = start(script("stubborn.py", """if True:
        import os, signal, sys, time
        index = int(os.environ["EPL_WORKER_INDEX"])
        directory = os.environ["EPL_OUTPUT_DIR"]
        if index == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open(os.path.join(directory, "pid"), "w").write("%d\\n" % os.getpid())
            time.sleep(600)
        while not os.path.exists(os.path.join(directory, "..", "0", "pid")):
            time.sleep(0.01)
        sys.exit(5)"""), flags=["--grace", "1"])
    pid = job.pid(0)
    begin = time.monotonic()
    assert job.wait()[0] == 5
    assert time.monotonic() - begin > 0.8
    assert not alive(pid)


def test_a_child_of_the_script_has_the_grace_time_too(start, script):
    """bash obeys SIGTERM at once; the training that it started may still save a checkpoint."""
    script("child.py", """if True:
        import os, signal, sys, time
        directory = os.environ["EPL_OUTPUT_DIR"]
        def save(*_):
            time.sleep(0.5)
            open(os.path.join(directory, "saved"), "w").close()
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        open(os.path.join(directory, "pid"), "w").write("%d\\n" % os.getpid())
        time.sleep(600)""")
    job = start(script("parent.sh", """
        if [ $EPL_WORKER_INDEX = 0 ]; then python $(dirname $0)/child.py; exit; fi
        until [ -s $EPL_OUTPUT_DIR/../0/pid ]; do sleep 0.01; done
        exit 3\n"""))
    assert job.wait()[0] == 3
    assert os.path.exists(job.path(0, "saved"))
    assert not alive(job.pid(0))


@pytest.mark.parametrize("code", [0, 3])
def test_what_a_script_left_in_the_background_is_ended(start, script, code):
    job = start(script("leave.sh", """
        sleep 600 & echo $! > $EPL_OUTPUT_DIR/pid
        for i in 0 1; do until [ -s $EPL_OUTPUT_DIR/../$i/pid ]; do sleep 0.01; done; done
        exit {}\n""".format(code)))
    assert job.wait()[0] == code
    assert not any(alive(job.pid(worker)) for worker in (0, 1))


@pytest.mark.parametrize("signum, expected", [
    (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_the_launcher_ends_the_job(start, script, signum, expected):
    job = start(script("wait.sh", WAIT_FOR_CHILD))
    pids = [job.pid(0), job.pid(1)]
    job.process.send_signal(signum)
    code, _, err = job.wait()
    assert code == expected
    assert "interrupted by " + signum.name in err
    assert not any(map(alive, pids))


def test_ctrl_c_twice_does_not_wait_for_the_grace_time(start, script):
    job = start(script("deaf.sh", "trap '' TERM\n" + WAIT_FOR_CHILD))
    pids = [job.pid(0), job.pid(1)]
    job.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert job.process.poll() is None
    job.process.send_signal(signal.SIGINT)
    assert job.wait()[0] == 130
    assert not any(map(alive, pids))


def test_a_signal_ignored_from_the_start_stays_ignored(start, script):
    """As under nohup: closing the terminal does not end the job."""
    job = start(script("wait.sh", WAIT_FOR_CHILD), command=[
        "bash", "-c", "trap '' HUP; exec \"$@\"", "nohup"] + LAUNCH)
    pids = [job.pid(0), job.pid(1)]
    job.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert all(map(alive, pids))
    job.process.send_signal(signal.SIGTERM)
    assert job.wait()[0] == 143


def test_of_two_deaths_seen_at_once_the_one_by_a_signal_is_the_cause(start, script):
    job = start(script("both.sh", """
        echo $$ > $EPL_OUTPUT_DIR/pid
        until [ -e $EPL_OUTPUT_DIR/../go ]; do sleep 0.01; done
        if [ $EPL_WORKER_INDEX = 0 ]; then exit 1; fi
        kill -KILL $$\n"""))
    pids = [job.pid(0), job.pid(1)]
    stop(job.process.pid)
    open(os.path.join(job.directory, "go"), "w").close()
    wait_until(lambda: not any(map(alive, pids)))
    job.process.send_signal(signal.SIGCONT)
    code, _, err = job.wait()
    assert code == 137 and "worker 1 died by signal SIGKILL" in err


def test_when_one_worker_cannot_start_none_runs(start, script, tmp_path):
    os.makedirs(str(tmp_path / "logs" / "1" / "stdout.log"))
    job = start(script("wait.sh", "exec >&- 2>&-\n" + WAIT_FOR_CHILD))
    code, _, err = job.wait()
    assert code == 2
    assert "worker 1 cannot be started" in err and "stdout.log" in err
    time.sleep(0.5)  # time enough to write its pid, had worker 0 been left alone
    assert not os.path.exists(job.path(0, "pid")) or not alive(job.pid(0))


def test_no_worker_survives_a_killed_launcher(start, script):
    job = start(script("wait.sh", "echo $$ > $EPL_OUTPUT_DIR/pid_bash\n" + WAIT_FOR_CHILD))
    pids = [job.pid(worker, name) for worker in (0, 1) for name in ("pid", "pid_bash")]
    job.process.kill()
    wait_until(lambda: not any(map(alive, pids)))


def test_a_worker_that_kills_the_launcher_at_once_leaves_nothing(start, script):
    """As early as can be: the launcher may still be starting the second worker."""
    job = start(script("kill.sh", """
        if [ $EPL_WORKER_INDEX = 1 ]; then sleep 600; fi
        sleep 600 & echo $! > $EPL_OUTPUT_DIR/pid
        kill -KILL $PPID\n"""))
    pid = job.pid(0)
    wait_until(lambda: not alive(pid))
    assert job.wait()[0] == -signal.SIGKILL


def watchdog_of(job):
    children = subprocess.check_output(  # -ww: ps may cut lines to 80 columns even in a pipe
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(job.process.pid)])
    watchdog, = [int(line.split()[0]) for line in children.decode().splitlines()
                 if "watchdog.py" in line]
    return watchdog


def test_no_worker_survives_launcher_and_guard_both_killed(start, script):
    job = start(script("wait.py", """if True:
        import os, time
        open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "pid"), "w").write("%d\\n" % os.getpid())
        time.sleep(600)"""))
    pids = [job.pid(0), job.pid(1)]
    os.kill(watchdog_of(job), signal.SIGKILL)
    job.process.kill()
    wait_until(lambda: not any(map(alive, pids)))


def test_the_guard_hears_when_nothing_of_a_worker_is_left(start, script):
    """Else it would kill whoever has the number of that process group by then."""
    job = start(script("end.sh", """
        echo $$ > $EPL_OUTPUT_DIR/pid
        until [ -e $EPL_OUTPUT_DIR/../go ]; do sleep 0.02; done
        if [ $EPL_WORKER_INDEX = 1 ]; then exec sleep 600; fi\n"""))
    group, _ = job.pid(0), job.pid(1)
    watchdog = watchdog_of(job)
    stop(watchdog)  # what it is told stays in its pipe
    try:
        open(os.path.join(job.directory, "go"), "w").close()
        with open("/proc/{}/fd/0".format(watchdog), "rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            wait_until(lambda: b"-%d\n" % group in (pipe.read() or b""))
    finally:
        os.kill(watchdog, signal.SIGCONT)
    job.process.send_signal(signal.SIGINT)
    assert job.wait()[0] == 130


def test_a_stranger_that_looks_like_a_worker_is_left_alone(start, script):
    """The same command line in another session: by hand, or of another job."""
    path = script("twin.sh", "echo $$ > $EPL_OUTPUT_DIR/pid; sleep 600\n")
    job = start(path, flags=["--grace", "1"])
    stranger = subprocess.Popen(["bash", path, job.path(0, "")[:-1]], start_new_session=True,
                                env=environment_for({"EPL_OUTPUT_DIR": os.path.dirname(path)}))
    try:
        pids = [job.pid(0), job.pid(1)]
        job.process.send_signal(signal.SIGINT)
        assert job.wait()[0] == 130
        assert not any(map(alive, pids))
        assert stranger.poll() is None
    finally:
        os.killpg(stranger.pid, signal.SIGKILL)
        stranger.wait()
