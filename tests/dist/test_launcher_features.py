# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What else `epl-launch` offers: programs, modules, output, environment, cores, dry runs, pdb."""

import json
import os
import re
import select
import shlex
import subprocess
import time

import pytest

from tests.support.jobs import HANG_S, ROOT, environment_for
from tests.support.launched import LAUNCH, SOON_S, read, wait_until


def test_a_program_from_the_path(start):
    code, out, _ = start("printf", "%s|%s", "a b", "-x").wait()
    assert code == 0
    assert sorted(out.splitlines()) == ["[worker 0] a b|-x", "[worker 1] a b|-x"]


def test_a_program_of_its_own(start, script):
    path = script("tool", "#!/bin/sh\necho \"$0 $1\"\n")
    os.chmod(path, 0o755)
    code, out, _ = start(path, "--dry_run", workers=1).wait()
    assert code == 0 and out == "[worker 0] {} --dry_run\n".format(path)


def test_a_module(start, script, tmp_path):
    script("some_module.py", "import sys\nprint(__name__, sys.argv[1:])\n")
    job = start("some_module", "-m", "x y", flags=["-m"], workers=1,
                environment={"PYTHONPATH": "{}:{}".format(ROOT, tmp_path)})
    code, out, err = job.wait()
    assert code == 0, err
    assert out == "[worker 0] __main__ ['-m', 'x y']\n"


@pytest.mark.parametrize("tee, shown", [("all", [0, 1, 2]), ("none", []), ("2,0", [0, 2])])
def test_tee_chooses_who_is_shown(start, script, tee, shown):
    job = start(script("talk.sh", "echo out; echo err >&2\n"), workers=3, flags=["--tee", tee])
    code, out, err = job.wait()
    assert code == 0
    assert sorted(out.splitlines()) == ["[worker {}] out".format(w) for w in shown]
    assert sorted(x for x in err.splitlines() if x.startswith("[")) == [
        "[worker {}] err".format(w) for w in shown]
    combined = read(os.path.join(job.directory, "combined.log")).decode().splitlines()
    assert sorted(combined) == sorted("[worker {}] {}".format(w, word) for w in range(3)
                                      for word in ("out", "err"))
    assert read(job.path(1, "stdout.log")) == b"out\n"


def test_progress_bars_become_lines(start, script):
    job = start(script("bar.py", """if True:
        import sys, time
        for i in range(101):
            sys.stderr.write("\\r%3d%%" % i); sys.stderr.flush(); time.sleep(0.001)
        sys.stderr.write("\\n")"""), workers=1)
    code, _, err = job.wait()
    assert code == 0
    shown = [line for line in err.splitlines() if line.startswith("[worker 0]")]
    assert shown[-1] == "[worker 0] 100%" and 1 < len(shown) < 20 and "\r" not in err
    assert read(job.path(0, "stderr.log")).count(b"\r") == 101


def test_a_terminal_that_nobody_reads_does_not_hold_up_training(start, script):
    job = start(script("flood.py", """if True:
        import os
        for i in range(400000):
            print("a line of some length, as logs have them, number", i)
        open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "done"), "w").close()"""))
    for worker in (0, 1):
        wait_until(lambda worker=worker: os.path.exists(job.path(worker, "done")), HANG_S)
    wait_until(lambda: job.process.poll() is not None, HANG_S)
    out, _ = job.process.communicate()
    assert job.process.returncode == 0
    assert read(job.path(0, "stdout.log")).count(b"\n") == 400000
    assert len(out) < 1 << 20


def test_logs_that_cannot_grow_do_not_end_the_job(start, script):
    """A limit on the size of files stands in for a full disk."""
    job = start(script("talk.py", "for i in range(20000): print('a line of output', i)"),
                command=["bash", "-c", "ulimit -f 64; exec \"$@\"", "limited"] + LAUNCH)
    code, out, err = job.wait()
    assert code == 0, err
    assert out.count("\n") == 40000
    for name in ("0/stdout.log", "1/stdout.log", "combined.log"):
        assert err.count("{} (File too large); this log ends here".format(name)) == 1


def test_a_program_that_cannot_be_executed(start, script):
    path = script("noise", "\x7fELF but no program\n")
    os.chmod(path, 0o755)
    code, _, err = start(path).wait()
    assert code == 2 and "worker 0 cannot be started" in err and "format" in err


@pytest.mark.parametrize("shown, other", [("stdout", "stderr"), ("stderr", "stdout")])
def test_colour_on_the_stream_that_is_a_terminal(script, tmp_path, shown, other):
    main, terminal = os.openpty()
    path = script("hello.sh", "echo hello >&{}\necho hello >&{}\n".format(
        *{"stdout": (1, 2), "stderr": (2, 1)}[shown]))
    streams = {shown: terminal, other: subprocess.PIPE}
    job = subprocess.Popen(LAUNCH + ["--num_workers", "1", "--gpu_per_worker", "0", "--log_dir",
                                     str(tmp_path / "l"), path],
                           env=environment_for({"TERM": "xterm"}), **streams)
    piped = b"".join(filter(None, job.communicate(timeout=SOON_S)))
    assert job.returncode == 0
    on_terminal = b""
    while b"hello\r\n" not in on_terminal:  # a terminal may hand on a part of what was written
        on_terminal += os.read(main, 1000)
    assert on_terminal.startswith(b"\x1b[36m[worker 0] \x1b[0mhello\r\n")
    assert b"[worker 0] hello\n" in piped and b"\x1b" not in piped
    assert read(str(tmp_path / "l" / "combined.log")) == b"[worker 0] hello\n" * 2
    os.close(main)
    os.close(terminal)


def test_identical_tracebacks_are_shown_once_in_the_box(start, script):
    job = start(script("bad.py", """if True:
        import os, signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        directory = os.environ["EPL_OUTPUT_DIR"]
        open(os.path.join(directory, "up"), "w").close()
        while not all(os.path.exists(os.path.join(directory, "..", str(w), "up"))
                      for w in range(4)):
            time.sleep(0.01)
        raise ValueError("no data")"""), workers=4)
    code, _, err = job.wait()
    box = err[err.index("+--"):]
    assert code == 1 and box.count("ValueError: no data") == 1
    assert re.search(r"\|   the same traceback: worker [0-3], [0-3], [0-3]\n", box)


def test_the_environment_of_the_flags(start, script, tmp_path):
    (tmp_path / "vars").write_text("FROM_FILE=1\nBOTH=file\n")
    job = start(script("env.sh", "env\n"), workers=1, environment={"HERE": "h"}, flags=[
        "--env", "BOTH=word", "--env", "HERE", "--env", "SET=a b=c",
        "--env_file", str(tmp_path / "vars")])
    code, out, _ = job.wait()
    assert code == 0
    for line in ("BOTH=word", "HERE=h", "SET=a b=c", "FROM_FILE=1"):
        assert "[worker 0] " + line in out.splitlines()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be divided")
def test_bind_gives_every_worker_its_own_cores(start, script):
    text = ("import os\n"
            "print(*sorted(os.sched_getaffinity(0)), os.environ['TF_NUM_INTRAOP_THREADS'])")
    code, out, _ = start(script("cores.py", text), flags=["--bind"]).wait()
    assert code == 0
    sets = [set(line.split()[2:-1]) for line in out.splitlines()]
    assert not sets[0] & sets[1]
    assert {int(core) for core in sets[0] | sets[1]} == os.sched_getaffinity(0)
    assert sum(int(line.split()[-1]) for line in out.splitlines()) == len(sets[0] | sets[1])


def test_more_bound_workers_than_cores_start_nothing(start, script):
    count = len(os.sched_getaffinity(0)) + 1
    job = start(script("no.sh", "touch $EPL_OUTPUT_DIR/started\n"), workers=count, flags=["--bind"])
    code, _, err = job.wait()
    assert code == 2 and "each worker needs one; leave --bind out" in err
    assert not os.path.exists(job.path(0, "started"))


def test_gpu_per_worker_0_needs_no_word(start, script):
    code, out, err = start(script("dev.sh", "echo $EPL_DEVICE_TYPE $EPL_GPU_PER_WORKER\n"),
                           workers=1, flags=["--gpu_per_worker", "0"]).wait()
    assert code == 0 and out == "[worker 0] cpu 1\n"
    assert "GPU" not in err


def test_dry_run_starts_nothing_and_tells_the_truth(start, script):
    """What it prints is what a real run's workers find."""
    path = script("env.py", "import os, sys\nprint(dict(os.environ), sys.argv)")
    flags = ["--bind", "--env", "MINE=a b"] if len(os.sched_getaffinity(0)) > 1 else []
    job = start(path, "x y", flags=flags + ["--dry_run"])
    code, text, err = job.wait()
    assert code == 0, err
    assert not os.path.exists(job.directory)
    real = start(path, "x y", flags=flags)
    assert real.wait()[0] == 0
    for worker, block in enumerate(text.split("worker ")[1:]):
        environment, argv = eval(read(real.path(worker, "stdout.log")).decode().replace(
            "} [", "}, ["))
        lines = block.splitlines()
        assert shlex.split(lines[1])[2:] == argv
        promised = dict(line.strip().split("=", 1)
                        for line in lines[lines.index("  environment") + 1:])
        assert len(promised) > 15
        for name, value in promised.items():
            if not name.startswith("HOROVOD_GLOO_RENDEZVOUS"):
                assert shlex.split(value) == [environment[name]], name


def test_run_json(start, script):
    job = start(script("end.sh", "exit $((4 * EPL_WORKER_INDEX))\n"), "--flag", "a b")
    assert job.wait()[0] == 4
    with open(os.path.join(job.directory, "run.json")) as file:
        record = json.load(file)
    assert record["arguments"][-2:] == ["--flag", "a b"]
    assert record["exit_code"] == 4 and record["versions"]["epl"]
    assert [w["exit_code"] for w in record["attempts"][0]["workers"]][1] == 4
    assert "worker 1 exited with code 4" in record["attempts"][0]["outcome"]
    assert record["start"] <= record["end"]


def test_unicode_everywhere(start, script, tmp_path):
    text = "Gr\u00fc\u00dfe \u4e16\u754c \U0001f600"
    job = start(script("unicode_\u00e9.sh", "echo \"$2\"; exit 1\n"), text, workers=1,
                flags=["--log_dir", str(tmp_path / "l\u00f6g \u4e16")])
    code, out, err = job.wait()
    assert code == 1 and out == "[worker 0] {}\n".format(text)
    assert "l\u00f6g \u4e16/0" in err
    assert (tmp_path / "l\u00f6g \u4e16" / "0" / "stdout.log").read_text("utf-8") == text + "\n"


def test_debug_gives_worker_0_the_terminal(script, tmp_path):
    """A real pdb session on a pseudo-terminal; worker 1's output stays in its log."""
    path = script("debug.py", """if True:
        import os
        if os.environ["EPL_WORKER_INDEX"] == "0":
            answer = 6 * 7
            import pdb; pdb.set_trace()
        print("end", os.environ["EPL_WORKER_INDEX"])""")
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execve(LAUNCH[0], LAUNCH + ["--num_workers", "2", "--debug", "--log_dir",
                                       str(tmp_path / "l"), path], environment_for())
    seen = _talk(terminal, [(b"(Pdb) ", b"answer\n"), (b"42", b""), (b"(Pdb) ", b"c\n")])
    assert os.waitpid(pid, 0)[1] == 0
    assert b"end 0" in seen and b"end 1" not in seen and b"done in" in seen
    assert read(str(tmp_path / "l" / "1" / "stdout.log")) == b"end 1\n"
    os.close(terminal)


def test_the_terminal_comes_back_when_worker_0_has_ended(script, tmp_path):
    path = script("debug.sh", "if [ $EPL_WORKER_INDEX = 1 ]; then exec sleep 600; fi\necho over\n")
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execve(LAUNCH[0], LAUNCH + ["--num_workers", "2", "--debug", "--log_dir",
                                       str(tmp_path / "l"), path], environment_for())
    shown = b""
    while b"over" not in shown:
        shown += os.read(terminal, 1000)
    wait_until(lambda: os.tcgetpgrp(terminal) == pid)
    seen = _talk(terminal, [(b"", b"\x03")])
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 130
    assert b"interrupted by SIGINT" in seen
    os.close(terminal)


def _talk(terminal, script):
    """Wait for each text on the terminal and answer; returns all that was seen until its end.

    An empty text at the beginning is not waited for.
    """
    seen = new = b""
    deadline = time.monotonic() + 4 * SOON_S
    while script and not script[0][0]:
        os.write(terminal, script.pop(0)[1])
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        try:
            data = os.read(terminal, 1000)
        except OSError:
            break
        seen, new = seen + data, new + data
        while script and script[0][0] in new:
            new = new[new.index(script[0][0]) + len(script[0][0]):]
            os.write(terminal, script.pop(0)[1])
    assert not script, seen
    return seen


def test_a_port_in_use_is_no_obstacle(start, script, tmp_path):
    """The rendezvous takes a free one: two jobs at the same time do not meet."""
    path = script("port.sh", "echo $HOROVOD_GLOO_RENDEZVOUS_PORT; sleep 1\n")
    first, second = start(path), start(path, flags=["--log_dir", str(tmp_path / "second")])
    ports = [set(re.findall(r"\] (\d+)", job.wait()[1])) for job in (first, second)]
    assert len(ports[0]) == len(ports[1]) == 1 and ports[0] != ports[1]
