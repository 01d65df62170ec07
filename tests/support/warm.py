# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Processes of Python that begin with TensorFlow imported: copies of one that did nothing else.

To import TensorFlow takes 1.3 s (1.15) or 2.7 s (2.15) of a core, more than most jobs take for all
the rest, and a job of two workers does it twice.

    tests                      this module, a process                        launcher, a process
    run(argv) -- request -->   serve: fork
              -- request -->     a keeper: fork, wait, answer
                                   become(argv): `python -m epl.launcher`
                                                                             Popen of a worker: fork
                                                                               become(its argv)

Nothing else, of EPL, Horovod or the tests, is imported before, there are no threads, graphs or
sessions, and random numbers are drawn anew. What is the same in all copies, as it is not in
processes of their own, are the hashes of strings: `tests/graph/test_same_graph_in_every_process.py`
is about these.
Tests of how processes are started, stopped and killed do not use it.
"""

import array
import atexit
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings

_OWN = ("epl", "examples", "tests")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_LAUNCHER = "epl.launcher"

_server = None
_starting = threading.Lock()


def run(argv, environment, timeout, stderr=subprocess.STDOUT, text=False):
    """As `subprocess.run` of `python ARGV` that catches what is written.

    Args:
      argv: the arguments of Python: a script, `-m MODULE` or `-c CODE`, and what follows.
      environment: all variables of the process.
      timeout: seconds after which it is killed.
      stderr: `subprocess.PIPE`: apart from `stdout`.
      text: outputs are texts.

    Raises:
      TimeoutExpired: it was killed.
    """
    readers, writers = zip(*[os.pipe() for _ in range(1 if stderr == subprocess.STDOUT else 2)])
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as connection:
        pipes = [stack.enter_context(open(reader, "rb")) for reader in readers]
        connection.connect(_address(environment))
        _send(connection, {"argv": argv, "environment": environment, "cwd": os.getcwd()}, writers)
        for writer in writers:
            os.close(writer)
        outputs, code = _follow(connection, pipes, argv, timeout)
    if text:
        outputs = [output.decode("utf-8", "replace") for output in outputs]
    return subprocess.CompletedProcess(argv, code, *outputs)


def _follow(connection, pipes, argv, timeout):
    """What comes from the process, and its exit code."""
    answers = connection.makefile("r")
    pid = json.loads(answers.readline())
    found = [b""] * len(pipes)

    def read(number):
        found[number] = pipes[number].read()

    threads = [threading.Thread(target=read, args=(number,), daemon=True)
               for number in range(len(pipes))]
    for thread in threads:
        thread.start()
    connection.settimeout(timeout)
    try:
        code = json.loads(answers.readline())
    except socket.timeout:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise subprocess.TimeoutExpired(argv, timeout) from None
    finally:
        for thread in threads:
            thread.join(timeout)
    return found, code


def _address(environment):
    """Of the server, which is started when it is first needed."""
    global _server
    with _starting:
        if _server is None:
            _server = _start(environment)
    return _server


def _start(environment):
    directory = tempfile.mkdtemp(prefix="epl-warm-")
    address = os.path.join(directory, "socket")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.support.warm", address], cwd=_ROOT,
        env=dict(environment, PYTHONPATH=_ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_stop, directory, process)
    assert process.stdout.readline() == b"ready\n"
    return address


def _stop(directory, process):
    process.stdin.close()
    process.wait()
    shutil.rmtree(directory, ignore_errors=True)


def _send(connection, request, descriptors):
    text = json.dumps(request).encode()
    connection.sendmsg([len(text).to_bytes(8, "big")], [(
        socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])
    connection.sendall(text)


def _receive(connection):
    """The request, and the descriptors for what is written."""
    descriptors = array.array("i")
    head, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_LEN(2 * descriptors.itemsize))
    descriptors.frombytes(ancillary[0][2])
    text = connection.makefile("rb").read(int.from_bytes(head, "big"))
    return json.loads(text.decode()), descriptors


def serve(address):
    """Until standard input ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("tensorflow.compat.v1")
    gc.collect()
    gc.freeze()  # the copies need not write into what they share
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready = select.select([listener, 0], [], [], 1.0)[0]
            _reap()
            if 0 in ready:
                return
            if listener in ready:
                connection, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    _keep(connection)
                connection.close()


def _reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep(connection):
    """Start what is asked for, and say how it ended. Does not return."""
    try:
        request, outputs = _receive(connection)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(outputs[0], 1)
            os.dup2(outputs[-1], 2)
            os.chdir(request["cwd"])
            become(request["argv"], request["environment"])
        for output in outputs:
            os.close(output)
        connection.sendall("{}\n".format(pid).encode())
        status = os.waitpid(pid, 0)[1]
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        connection.sendall("{}\n".format(code).encode())
    finally:
        os._exit(0)


def become(argv, environment):
    """Do in this process, just forked, what `python ARGV` does, and end it. Does not return."""
    try:
        _forget(environment)
        code = _run(argv)
    except BaseException:
        traceback.print_exc()
        code = 120
    os._exit(code)


def _forget(environment):
    """All that a new process would not have."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in (0, 1, 2, nothing):  # not closed: whoever has it here may do so later
            os.dup2(nothing, descriptor, inheritable=False)
    signal.set_wakeup_fd(-1)
    for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(signum)):
            signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.split(".")[0] in _OWN]:
        del sys.modules[name]
    path = environment.get("PYTHONPATH", "").split(":")
    sys.path[1:1] = [each for each in path if each and each not in sys.path]
    random.seed()
    sys.modules["numpy"].random.seed()
    if environment.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()


def _run(argv):
    """The exit code of `python ARGV`, after all that is done at the end of a process."""
    code = 0
    try:
        _main(argv)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            sys.stderr.write("{}\n".format(end.code))
    except BaseException:
        sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
        sys.excepthook(sys.last_type, sys.last_value, sys.last_traceback)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xff


def _main(argv):
    while argv[0] == "-W":
        warnings.simplefilter(argv[1])
        argv = argv[2:]
    if argv[0] == "-m":
        sys.argv, sys.path[0] = argv[1:], os.getcwd()
        if argv[1] == _LAUNCHER:
            subprocess.Popen = _Popen
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv, sys.path[0] = ["-c"] + argv[2:], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(argv[1], "<string>", "exec"), vars(main))
    else:
        sys.argv, sys.path[0] = argv, os.path.dirname(os.path.abspath(argv[0]))
        runpy.run_path(argv[0], run_name="__main__")


class _Popen(subprocess.Popen):
    """A worker that is a script of Python is a copy of the launcher, too."""

    def __init__(self, args, env=None, preexec_fn=None, **options):
        if args[0] == sys.executable and args[1].endswith(".py"):
            arrange = preexec_fn

            def preexec_fn():
                arrange()
                become(args[1:], env)

        super().__init__(args, env=env, preexec_fn=preexec_fn, **options)


if __name__ == "__main__":
    serve(sys.argv[1])
