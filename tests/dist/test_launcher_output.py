# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch` with real processes: what workers are given, what is refused, what they print."""

import os
import re
import resource
import stat
import subprocess
import sys

import pytest

from tests.support.jobs import environment_for
from tests.support.launched import LAUNCH, SOON_S, read

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
        [sys.executable, "-c", "import sys, epl.launcher.cli as cli;"
         "import epl.communicators.horovod.rendezvous as r;"
         "r.serve_rendezvous(None, ['127.0.0.1'] * 2, '127.0.0.1', 'secret').stop();"
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
