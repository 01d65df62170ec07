# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is given bad input, each with a check of what it took.

A target draws a case, and runs it: it returns what was taken, in a form that `is_good` looks at
without the code that took it, or raises one of `ERRORS`.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import struct
import sys
import tempfile

import numpy as np

from epl import cluster, config
from epl.errors import ConfigError
from epl.launcher import cli, hostfile
from examples.bert import checkpoints, safetensors_file, squad
from examples.bert.errors import UserError
from tests.fuzz import draws
from tests.support.jobs import ROOT

ERRORS = (ConfigError, NotImplementedError, UserError)

_HOST = re.compile(r"[\w.-]{1,253}", re.ASCII)


class Refused(Exception):
    """A program ended with a message."""


class Target:
    """One thing that takes input.

    Attributes:
      directory: for its files, until `close`.
    """

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="epl-fuzz-")

    def close(self):
        shutil.rmtree(self.directory)

    def file(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(content)
        return path


class Config(Target):
    """`epl.Config`, from a dictionary and from the environment."""

    def draw(self, draw):
        given, environment = {}, {}
        for _ in range(draw.choice((1, 2, 3))):
            key = draw.choice(sorted(config.OPTIONS)) if draw.random() < 0.8 else draws.word(draw)
            if draw.random() < 0.5:
                name = config.environment_name(key).replace("\0", "")
                environment[name.replace("=", "") or "X"] = draws.word(draw).replace("\0", "")
            else:
                given[key] = draw.choice([draws.value(draw), config.OPTIONS[key].default
                                          if key in config.OPTIONS else None])
        return given, environment

    def run(self, case):
        given, environment = case
        before = os.environ.copy()
        try:
            for name, text in environment.items():
                with contextlib.suppress(UnicodeEncodeError):
                    os.environ[name] = text
            return config.Config(given).as_dict()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def is_good(self, taken):
        for key, value in taken.items():
            default = config.OPTIONS[key].default
            if key != "amp.loss_scale" and type(value) is not type(default):
                return False
            if isinstance(value, int) and not -2 ** 31 <= value < 2 ** 31:
                return False
        return taken["pipeline.num_micro_batch"] <= 10000


class Cluster(Target):
    """TF_CONFIG, the variables of launchers, and `epl.Cluster` with addresses."""

    GOOD = {"cluster": {"chief": ["h0:2222"], "worker": ["h1:2222", "10.0.0.3:2223"]},
            "task": {"type": "worker", "index": 1}}
    VARIABLES = {"EPL_NUM_WORKERS": "2", "EPL_WORKER_INDEX": "1", "EPL_WORKER_HOSTS": "a,b",
                 "EPL_GPU_PER_WORKER": "1", "EPL_DEVICE_TYPE": "cpu"}
    STARTERS = (
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
         "MASTER_ADDR": "h0", "MASTER_PORT": "29500", "EPL_STARTER": "torchrun"},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "7",
         "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
        {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": "0",
         "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_STEP_NODELIST": "n[1-2]",
         "SLURM_JOB_ID": "7"})

    def draw(self, draw):
        kind = draw.random()
        if kind < 0.7:
            return {"TF_CONFIG": draws.text_of(draw, self.GOOD).decode("utf-8", "surrogateescape")}
        if kind < 0.85:
            return dict(self.VARIABLES, **{draw.choice(sorted(self.VARIABLES)): draws.word(draw)})
        if kind < 0.95:
            variables = draw.choice(self.STARTERS)
            return dict(variables, **{draw.choice(sorted(variables)): draws.word(draw)})
        return draws.changed(draw, ["h0:1", "h1:2"]), draws.scalar(draw)

    def run(self, case):
        if isinstance(case, dict):
            found = cluster._validated(cluster.read_environment(case))
            return found.hosts, found.worker_index
        made = cluster.Cluster(case[0], worker_index=case[1])
        return made.hosts, made.worker_index

    def is_good(self, taken):
        hosts, index = taken
        for address in hosts:
            host, colon, port = address.partition(":")
            if not _HOST.fullmatch(host) or (colon and not 1 <= int(port) <= 65535):
                return False
        return type(index) is int and 0 <= index < len(hosts) <= 65536


class CommandLine(Target):
    """The flags of `epl-launch`."""

    FLAGS = ["--num_workers", "--gpu_per_worker", "--log_dir", "--task_label", "--tee", "--grace",
             "--timeout", "--start_timeout", "--stall_timeout", "--max_restarts", "--env", "--bind",
             "--env_file", "--debug", "--dry_run", "--check", "--hosts", "--hostfile", "-m",
             "--machine_list", "--machine_rank", "--ssh_port", "--ssh_args", "--ssh_command",
             "--host_timeout", "--remote_python", "--nonsense", "--"]

    def draw(self, draw):
        argv = []
        if draw.random() < 0.7:
            argv += ["--num_workers", draw.choice(["2", draws.word(draw)])]
        for _ in range(draw.randrange(5)):
            flag = draw.choice(self.FLAGS)
            argv += [flag + "=" + draws.word(draw)] if draw.random() < 0.3 else [
                flag, draw.choice(["1", "localhost:2", "127.0.0.1:5000", draws.word(draw)])]
        argv += ["train.py"] if draw.random() < 0.8 else []
        return [word.replace("\0", "") for word in argv]  # no command line can hold it

    def run(self, case):
        return _program(lambda: cli.parse(case))

    def is_good(self, taken):
        if taken is None:  # --help, --version
            return True
        numbers = [taken.grace, taken.host_timeout] + [limit for limit in (
            taken.timeout, taken.start_timeout, taken.stall_timeout) if limit is not None]
        return (1 <= taken.num_workers <= 65536 and 0 <= taken.gpu_per_worker <= 4096
                and all(0 <= number <= 1e9 for number in numbers)
                and taken.ssh_port in [None] + list(range(1, 65536))
                and not any("\0" in value for value in taken.environment.values()))


class Hostfile(Target):
    """`--hostfile`, `--hosts` and `--machine_list`."""

    GOOD = b"# machines\nalpha slots=2  # here\nbeta slots=1\n10.0.0.3\n"

    def draw(self, draw):
        kind = draw.randrange(3)
        if kind:
            words = ["h1:2", "h2", "10.0.0.1:5000", draws.word(draw), draws.word(draw)]
            return kind, ",".join(draw.sample(words, draw.randrange(1, 5)))
        if draw.random() < 0.5:
            return kind, draws.damaged(draw, self.GOOD)
        return kind, " ".join(draw.choice(["h1", "\n", "slots=2", draws.word(draw)])
                              for _ in range(8)).encode("utf-8", "surrogateescape")

    def run(self, case):
        kind, content = case
        if kind == 1:
            hosts = hostfile.parse_hosts(content)
        elif kind == 2:
            return [tuple(machine) for machine in hostfile.parse_machine_list(content)], []
        else:
            hosts = hostfile.read_hostfile(self.file("hosts", content))
        return [tuple(host) for host in hosts], hostfile.place_on_slots(hosts, None)

    def is_good(self, taken):
        hosts, places = taken
        return len(places) <= 65536 and len({name for name, _ in hosts}) == len(hosts) and all(
            _HOST.fullmatch(name) and type(number) is int and 1 <= number <= 65536
            for name, number in hosts)


class Squad(Target):
    """Data sets and answers: what training reads, and both programs that score."""

    GOOD = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{
        "context": "The cat sat on the mat.", "qas": [
            {"id": "a", "question": "Who sat?", "is_impossible": False,
             "answers": [{"text": "cat", "answer_start": 4},
                         {"text": "The cat", "answer_start": 0}]},
            {"id": 7, "question": "Where?", "answers": [{"text": "mat", "answer_start": 19}]}]}]}]}
    ANSWERS = {"a": "cat", "7": "on the mat"}
    DOUBTS = {"a": 0.1, "7": 2}

    def __init__(self):
        super().__init__()
        self._programs = [_module(name) for name in ("evaluate-v1.1", "evaluate-v2.0")]

    def draw(self, draw):
        return (draw.randrange(3), draws.text_of(draw, self.GOOD),
                draws.text_of(draw, self.ANSWERS), draws.text_of(draw, self.DOUBTS))

    def run(self, case):
        kind = case[0]
        data, answers, doubts = [self.file(name, content) for name, content in zip(
            ("data.json", "answers.json", "doubts.json"), case[1:])]
        if kind == 2:
            found = squad.read_questions(data, True, True)
            return [(q.identity, q.text, q.paragraph[q.answer.start:q.answer.end]
                     if q.answer else "x") for q in found.questions]
        argv = ["evaluate", data, answers] + (["--na-prob-file", doubts] if kind else [])
        scores = json.loads(_program(self._programs[kind].main, argv))
        return list(scores.values())

    def is_good(self, taken):
        return all(self._is_score(one) if isinstance(one, (int, float)) else
                   all(isinstance(text, str) and text for text in one) for one in taken)

    @staticmethod
    def _is_score(number):
        # A threshold is one of the doubts: an integer may be larger than any float.
        return isinstance(number, int) or np.isfinite(number)


class Checkpoint(Target):
    """A checkpoint whose files are damaged, and the file that says which is the latest."""

    def __init__(self):
        super().__init__()
        self._good = os.path.join(self.directory, "good")
        os.mkdir(self._good)
        self.values = {"bert/a": np.arange(6, dtype=np.float32).reshape(2, 3),
                       "b": np.float32([1, 2])}
        checkpoints.write_checkpoint(os.path.join(self._good, "model"), self.values)
        self.file("good/checkpoint", b'model_checkpoint_path: "model"\n')
        self._names = sorted(os.listdir(self._good))

    def draw(self, draw):
        files = {}
        for name in self._names:
            with open(os.path.join(self._good, name), "rb") as file:
                files[name] = file.read()
        name = draw.choice(self._names)
        files[name] = draw.choice([draws.damaged(draw, files[name]), b"", None])
        return files

    def run(self, case):
        directory = os.path.join(self.directory, "case")
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        for name, content in case.items():
            if content is not None:
                self.file(os.path.join("case", name), content)
        path = checkpoints.latest_checkpoint(directory) or os.path.join(directory, "model")
        return checkpoints.read_checkpoint(path, checkpoints.checkpoint_shapes(path))

    def is_good(self, taken):
        return set(taken) == set(self.values) and all(
            np.array_equal(taken[name], value) for name, value in self.values.items())


class Safetensors(Target):
    """Files of tensors."""

    GOOD = {"__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "BF16", "shape": [2], "data_offsets": [24, 28]}}

    def draw(self, draw):
        header = draws.text_of(draw, self.GOOD)
        length = len(header) if draw.random() < 0.9 else draw.choice([0, 1, 2 ** 40, 2 ** 63])
        data = bytes(28) if draw.random() < 0.9 else bytes(draw.randrange(60))
        return struct.pack("<Q", length) + header + data

    def run(self, case):
        file = safetensors_file.SafetensorsFile(self.file("model.safetensors", case))
        return [(file.shapes[name], file.float32(name)) for name in file.shapes
                if file.types[name] in safetensors_file._FLOATS]

    def is_good(self, taken):
        return all(type(n) is int and n >= 0 for shape, _ in taken for n in shape) and all(
            list(array.shape) == shape and array.dtype == np.float32 for shape, array in taken)


def _module(name):
    path = os.path.join(ROOT, "examples", "bert", name + ".py")
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", name), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _program(main, argv=None):
    """What `main` returns, or else prints; Refused with its message if it ends with one."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    try:
        sys.argv = argv or before
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = main()
        return out.getvalue() if found is None else found
    except SystemExit as end:
        if end.code in (None, 0):
            return None
        words = end.code if isinstance(end.code, str) else err.getvalue().strip()
        raise Refused(words) from None
    finally:
        sys.argv = before


TARGETS = {"config": Config, "cluster": Cluster, "command_line": CommandLine,
           "hostfile": Hostfile, "squad": Squad, "checkpoint": Checkpoint,
           "safetensors": Safetensors}

