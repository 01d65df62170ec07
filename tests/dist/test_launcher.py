# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch` with real processes: exits, signals, arguments, output, and nothing left behind."""

import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from tests.support.jobs import environment_for
from tests.support.launched import LAUNCH, SOON_S, WAIT_FOR_CHILD, alive, read, wait_until


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
    """Much sooner than this, which is for busy machines."""
    job = start(script("wait.sh", WAIT_FOR_CHILD))
    pids = [job.pid(0), job.pid(1)]
    bash = int(subprocess.check_output(["ps", "-o", "ppid=", str(pids[1])]))
    begin = time.monotonic()
    os.kill(bash, signal.SIGKILL)
    assert job.wait()[0] == 137
    assert time.monotonic() - begin < 3
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
    job.process.send_signal(signal.SIGSTOP)
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


def guard_of(job):
    children = subprocess.check_output(["ps", "-o", "pid=,args=", "--ppid", str(job.process.pid)])
    guard, = [int(line.split()[0]) for line in children.decode().splitlines() if "guard.py" in line]
    return guard


def test_no_worker_survives_launcher_and_guard_both_killed(start, script):
    job = start(script("wait.py", """if True:
        import os, time
        open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "pid"), "w").write("%d\\n" % os.getpid())
        time.sleep(600)"""))
    pids = [job.pid(0), job.pid(1)]
    os.kill(guard_of(job), signal.SIGKILL)
    job.process.kill()
    wait_until(lambda: not any(map(alive, pids)))


def test_the_guard_hears_when_nothing_of_a_worker_is_left(start, script):
    """Else it would kill whoever has the number of that process group by then."""
    job = start(script("end.sh", """
        echo $$ > $EPL_OUTPUT_DIR/pid
        until [ -e $EPL_OUTPUT_DIR/../go ]; do sleep 0.02; done
        if [ $EPL_WORKER_INDEX = 1 ]; then exec sleep 600; fi\n"""))
    group, _ = job.pid(0), job.pid(1)
    guard = guard_of(job)
    os.kill(guard, signal.SIGSTOP)  # what it is told stays in its pipe
    try:
        open(os.path.join(job.directory, "go"), "w").close()
        with open("/proc/{}/fd/0".format(guard), "rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            wait_until(lambda: b"-%d\n" % group in (pipe.read() or b""))
    finally:
        os.kill(guard, signal.SIGCONT)
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


ARGUMENTS = ["a b", "", "--num_workers", "--", "-x", "it's \"quoted\"", "$HOME", "*",
             "\u00e9\u4e16"]


@pytest.mark.parametrize("name, text", [
    ("args.py", "import sys\nfor a in sys.argv[1:]: print('<' + a + '>')\n"),
    ("args.sh", "test \"$1\" = \"$EPL_OUTPUT_DIR\" || exit 1; shift\n"
                "for a in \"$@\"; do printf '<%s>\\n' \"$a\"; done\n")])
def test_arguments_arrive_untouched(start, script, name, text):
    job = start(script(name, text), *ARGUMENTS, workers=1,
                environment={"PYTHONIOENCODING": "utf-8"})
    code, out, _ = job.wait()
    assert code == 0
    assert out.splitlines() == ["[worker 0] <{}>".format(a) for a in ARGUMENTS]


def test_environment_of_the_workers(start, script):
    job = start(script("env.sh", "python -c 'import sys; print(sys.executable)'\nenv\n"),
                environment={"HOROVOD_CYCLE_TIME": "3", "MINE": "a b"})
    code, _, _ = job.wait()
    assert code == 0
    for worker in (0, 1):
        lines = read(job.path(worker, "stdout.log")).decode().splitlines()
        assert os.path.dirname(lines[0]) == os.path.dirname(sys.executable)
        directory = os.path.join(job.directory, str(worker))
        for line in ("EPL_NUM_WORKERS=2", "EPL_WORKER_INDEX={}".format(worker), "MINE=a b",
                     "EPL_GPU_PER_WORKER=1", "EPL_WORKER_HOSTS=127.0.0.1,127.0.0.1",
                     "EPL_OUTPUT_DIR=" + directory, "EPL_DEVICE_TYPE=cpu",
                     "CUDA_VISIBLE_DEVICES=", "PYTHONUNBUFFERED=1", "HOROVOD_CYCLE_TIME=3",
                     "HOROVOD_RANK={}".format(worker), "HOROVOD_SIZE=2"):
            assert line in lines


def test_too_few_gpus_starts_nothing(start, script, tmp_path):
    nvidia_smi = tmp_path / "bin" / "nvidia-smi"
    nvidia_smi.parent.mkdir()
    nvidia_smi.write_text("#!/bin/sh\necho 0\necho 1\n")
    nvidia_smi.chmod(stat.S_IRWXU)
    job = start(script("never.sh", "touch $EPL_OUTPUT_DIR/started\n"), workers=3,
                environment={"PATH": "{}:{}".format(nvidia_smi.parent, os.environ["PATH"]),
                             "CUDA_VISIBLE_DEVICES": "0,1"})
    code, _, err = job.wait()
    assert code == 2
    assert "3 worker(s) x 1 GPU(s) = 3 GPUs" in err and "2 are there" in err
    assert err.count("\n") == 1
    assert not os.path.exists(job.directory)


def test_a_missing_script_starts_nothing(start, tmp_path):
    job = start(str(tmp_path / "nowhere.sh"))
    code, _, err = job.wait()
    assert code == 2
    assert err.startswith("epl-launch: error: script '") and err.count("\n") == 1
    assert "nowhere.sh' does not exist" in err
    assert not os.path.exists(job.directory)


def test_a_log_directory_that_cannot_be_made_starts_nothing(script):
    done = subprocess.run(LAUNCH + ["--num_workers", "2", "--log_dir", "/proc/none/logs",
                                    script("never.sh", "echo started\n")],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment_for(), check=False)
    assert done.returncode == 2 and done.stdout == b""
    assert b"'/proc/none/logs' cannot be made" in done.stderr and b"--log_dir" in done.stderr


def test_output_is_whole_lines_and_logs_are_raw(start, script):
    """Two workers write half lines in turn; a last line has no end; bytes are no UTF-8."""
    job = start(script("halves.py", """if True:
        import os, sys, time
        out = sys.stdout.buffer
        for i in range(20):
            for half in (b"left %d \\xc3" % i, b"\\xa9 right\\n"):
                out.write(half); out.flush(); time.sleep(0.01)
        sys.stderr.buffer.write(b"bad \\xff\\n"); out.write(b"no end"); out.flush()"""))
    out, err = job.process.communicate(timeout=SOON_S)
    assert job.process.returncode == 0
    lines = out.decode("utf-8").splitlines()
    expected = ["left {} \u00e9 right".format(i) for i in range(20)] + ["no end"]
    for worker in (0, 1):
        prefix = "[worker {}] ".format(worker)
        assert [x[len(prefix):] for x in lines if x.startswith(prefix)] == expected
        assert read(job.path(worker, "stdout.log")) == "\n".join(expected).encode()
        assert read(job.path(worker, "stderr.log")) == b"bad \xff\n"
    assert len(lines) == 2 * len(expected)
    assert err.count("bad \ufffd\n".encode()) == 2


def peak_kib(pid):
    """The most memory that the program has had; what it was forked from does not count."""
    with open("/proc/{}/status".format(pid)) as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def test_a_hundred_megabytes_without_newline(start, script):
    """Memory stays bounded, every piece is valid UTF-8, the log has it all.

    What the reader of the launcher's output is too slow for is named, not silently lost.
    """
    text, times = "\u00e9\u4e16\U0001f600" * 1000, 12000  # 9,000 bytes, 108 MB
    job = start(script("flood.py", """if True:
        import sys
        for _ in range({}):
            sys.stdout.buffer.write({!r}.encode() * 1000)
        sys.stdout.buffer.write(b"!\\n")""".format(times, text[:3])), workers=1)
    length = missed = peak = 0
    for number, line in enumerate(job.process.stdout):
        if number % 50 == 0:
            peak = max(peak, peak_kib(job.process.pid))
        if line.startswith(b"epl-launch: "):
            missed += int(line.split()[1])
            continue
        assert line.startswith(b"[worker 0] ") and len(line) < 70000
        length += len(line.decode("utf-8")) - len("[worker 0] \n")
    assert job.process.wait(SOON_S) == 0
    assert length == len(text) * times + 1 if not missed else length < len(text) * times
    assert os.path.getsize(job.path(0, "stdout.log")) == len(text.encode()) * times + 2
    assert 0 < peak < 100 * 1024  # the launcher alone has about 25 MB


def test_a_reader_that_goes_away_does_not_end_the_job(start, script):
    job = start(script("talk.sh", "for i in $(seq 2000); do echo line $i; done; echo end\n"))
    job.process.stdout.close()
    assert job.process.wait(timeout=SOON_S) == 0
    assert read(job.path(0, "stdout.log")).endswith(b"line 2000\nend\n")


def test_sixteen_workers(start, script):
    code, out, _ = start(script("many.sh", "echo $EPL_WORKER_INDEX of $EPL_NUM_WORKERS\n"),
                         workers=16).wait()
    assert code == 0
    assert set(out.splitlines()) == {"[worker {0}] {0} of 16".format(i) for i in range(16)}


def test_start_needs_no_tensorflow_and_little_time(script):
    report = subprocess.run(
        [sys.executable, "-c", "import sys, epl.launcher.cli as cli, epl.launcher.rendezvous as r;"
         "s, _ = r.serve_rendezvous(None, ['127.0.0.1'] * 2); s.stop();"
         "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'numpy')])"],
        stdout=subprocess.PIPE, env=environment_for(), timeout=SOON_S)
    assert report.stdout == b"[]\n"
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    version = subprocess.run(LAUNCH + ["--version"], stdout=subprocess.PIPE, env=environment_for())
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert re.match(rb"epl-launch \d+\.\d+\.\d+ \(Python 3\.\d+\.\d+\)\n$", version.stdout)
    assert end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime < 1.0


def test_help_explains_the_environment():
    text = subprocess.run(LAUNCH + ["--help"], stdout=subprocess.PIPE, env=environment_for(),
                          check=True).stdout.decode()
    for word in ("--num_workers", "--gpu_per_worker", "--log_dir", "--task_label",
                 "EPL_OUTPUT_DIR", "Exit code"):
        assert word in text
