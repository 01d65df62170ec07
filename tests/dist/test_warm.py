# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Copies of a process that has TensorFlow imported do what new processes of Python do."""

import os
import subprocess
import sys

import pytest

from tests.support import jobs, warm

SECONDS = 120

# What a script sees of its process; the same in a new one.
SEES = """
import __main__, atexit, os, signal, sys, threading
print(sys.argv, __name__, __main__.__name__, os.getcwd(), os.environ.get("GIVEN"), sys.path[0])
print([n for n in ("epl", "horovod", "tests") if n in sys.modules], threading.active_count())
print(sorted(s.name for s in signal.Signals if callable(signal.getsignal(s))))
print(sys.stdin.read() == "", os.getpgrp() == os.getpid())
atexit.register(print, "at the end")
print("to stderr", file=sys.stderr)
"""


def both(argv, **environment):
    """(exit code, stdout, stderr) of a new process, and of a copy."""
    variables = jobs.environment_for(environment)
    new = subprocess.run([sys.executable] + argv, env=variables, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS,
                         universal_newlines=True, start_new_session=True)
    copy = warm.run(argv, variables, SECONDS, stderr=subprocess.PIPE, text=True)
    return [(done.returncode, done.stdout, done.stderr) for done in (new, copy)]


@pytest.mark.parametrize("way", ["script", "-c", "-m"])
def test_a_script_sees_the_same(tmp_path, way):
    (tmp_path / "seen_by_tests.py").write_text(SEES)
    argv = {"script": [str(tmp_path / "seen_by_tests.py")], "-c": ["-c", SEES],
            "-m": ["-m", "seen_by_tests"]}[way]
    new, copy = both(argv + ["one", "two words"], GIVEN="x",
                     PYTHONPATH="{}:{}".format(jobs.ROOT, tmp_path))
    assert new[0] == 0
    assert new == copy


@pytest.mark.parametrize("end", [
    "", "sys.exit()", "sys.exit(3)", "sys.exit('words')", "sys.exit(-1)", "os._exit(7)",
    "1 / 0", "os.abort()", "os.kill(os.getpid(), signal.SIGTERM)",
    "sys.excepthook = lambda *error: print(error[0]); 1 / 0",
    "atexit.register(lambda: print(sys.last_value)); 1 / 0",
    "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()"])
def test_it_ends_the_same(end):
    code = "import atexit, os, signal, sys, threading, time\nprint('begun', flush=True)\n" + end
    new, copy = both(["-c", code])
    assert new[:2] == copy[:2]
    assert new[2].splitlines()[-1:] == copy[2].splitlines()[-1:] or end == "os.abort()"


def test_every_copy_draws_its_own_numbers():
    code = "import random, numpy; print(random.random(), numpy.random.rand())"
    drawn = {number for _ in range(3) for number in warm.run(
        ["-c", code], jobs.environment_for(), SECONDS, text=True).stdout.split()}
    assert len(drawn) == 6


def test_workers_are_copies_of_their_launcher_and_end_as_others(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text("import os, sys\nassert 'tensorflow' in sys.modules\n"
                      "assert 'epl' not in sys.modules\n"
                      "sys.exit(5 if os.environ['EPL_WORKER_INDEX'] == '1' else 0)\n")
    done = jobs.launch(str(script), tmp_path / "logs", warm=True)
    assert done.code == 5, done.output
    assert "worker 1 exited with code 5" in done.output
    assert os.path.exists(done.path(1, "stderr.log"))


def test_one_that_hangs_is_killed():
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(["-c", "import time; time.sleep(600)"], jobs.environment_for(), 0.5)
