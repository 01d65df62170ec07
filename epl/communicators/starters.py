# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Starters of processes beside `epl-launch`: what their variables say of this process.

    torchrun   RANK, WORLD_SIZE; a PyTorchJob of Kubeflow sets them too
    mpirun     OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE: Open MPI
    mpiexec    PMI_RANK, PMI_SIZE: MPICH, Intel MPI, and `srun --mpi=pmi2`
    srun       SLURM_PROCID, SLURM_STEP_NUM_TASKS: a step of Slurm

One may be started by another: `mpirun` and `torchrun` by `srun`, which starts theirs on each
machine. So srun is believed if no other speaks, or says the same: it knows the machines best. The
others have to agree; where they do not, nobody but the user knows which one counts, and
`EPL_STARTER` says it.

None of them has a rendezvous that is ours to use. Worker 0 serves one, as with `TF_CONFIG`: at
`MASTER_ADDR` and `MASTER_PORT`, or what follows from the job's name.
"""

import hashlib
import re
from typing import Dict, List, Mapping, NamedTuple, Optional

from epl.errors import ConfigError, nearest, quoted
from epl.limits import MAX_WORKERS

VARIABLE = "EPL_STARTER"
NONE, TF_CONFIG, SRUN = "none", "tf_config", "srun"
ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"

_TF_CONFIG = "TF_CONFIG"
_PMIX_RANK = "PMIX_RANK"  # of Open MPI and srun, which say the number of processes elsewhere
_AGENT_HAS_PORT = "TORCHELASTIC_USE_AGENT_STORE"
_LOOPBACK = "127.0.0.1"
_PORTS = range(20000, 30000)  # below those that Linux gives to whoever asks for any
_LAST_PORT = 65535
_NUMBER = re.compile(r"[0-9]{1,9}")
_TASKS = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?")
_RANGE = re.compile(r"\[([^\],-]*)[^\]]*\]")


class Words(NamedTuple):
    """The variables of one starter.

    Attributes:
      rank, size: of all processes.
      local_rank, local_size: of those on this machine; "": there is none.
      job: those that name the job; "": none does.
    """

    rank: str
    size: str
    local_rank: str = ""
    local_size: str = ""
    job: str = ""


class Said(NamedTuple):
    """What a starter says of this process."""

    starter: str
    rank: int
    size: int


WORDS: Dict[str, Words] = {
    "torchrun": Words("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
                      "TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT MASTER_ADDR MASTER_PORT"),
    "mpirun": Words("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                    "OMPI_COMM_WORLD_LOCAL_SIZE", "PMIX_NAMESPACE"),
    "mpiexec": Words("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    SRUN: Words("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "",
                "SLURM_JOB_ID SLURM_STEP_ID SLURM_RESTART_COUNT"),
}
_STEP_TASKS, _STEP_NODES = "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST"


def counts(environ: Mapping[str, str]) -> str:
    """The starter whose word counts, one of `WORDS` or `TF_CONFIG`; `NONE`: this process is alone.

    Raises:
      ConfigError: variables are set by halves, contradict each other, or `EPL_STARTER` names none
        that has set its own.
    """
    asked = environ.get(VARIABLE, "").strip().lower()
    if asked == NONE:
        return NONE
    if asked and asked not in _names():
        raise ConfigError("{} = '{}' is no starter; {}".format(
            VARIABLE, quoted(environ[VARIABLE]), nearest(asked, _names())))
    if asked:
        return _asked(environ, asked)
    every = [_said(environ, name) for name in WORDS]
    found = [said for said in every if said is not None]
    if environ.get(_TF_CONFIG, "").strip():
        return TF_CONFIG
    if not found and environ.get(_PMIX_RANK):
        raise ConfigError("{} = '{}', but nobody says how many processes there are: start them "
                          "with mpirun or srun, or set RANK and WORLD_SIZE, or {}={} for one "
                          "worker".format(_PMIX_RANK, quoted(environ[_PMIX_RANK]), VARIABLE, NONE))
    return _agreed(environ, found).starter if found else NONE


def said_by(environ: Mapping[str, str], starter: str) -> Said:
    """What `starter`, which `counts` has named, says."""
    said = _said(environ, starter)
    assert said is not None
    return said


def check_agrees(environ: Mapping[str, str], rank: int, size: int) -> None:
    """Raises ConfigError if a starter says otherwise than `TF_CONFIG`, which counts."""
    if environ.get(VARIABLE):
        return
    for name in WORDS:
        said = _said(environ, name)
        if said is not None and name != SRUN and (said.rank, said.size) != (rank, size):
            raise ConfigError("TF_CONFIG says worker {} of {}, but {}; {}".format(
                rank, size, _words_of(environ, name), _choice([TF_CONFIG, name])))


def hosts(environ: Mapping[str, str], said: Said) -> List[str]:
    """The machine of every worker, the first with the port of the rendezvous.

    Machines other than that of worker 0 get names of ours: nobody looks for them there.

    Raises:
      ConfigError: who is on which machine, or where they meet, does not follow from the variables.
    """
    if said.size == 1:
        return ["localhost"]
    machines = _machines(environ, said)
    first = _first_host(environ, said, machines)
    names = ["host{}".format(machine) if machine else first for machine in machines]
    names[0] = "{}:{}".format(first, _port(environ, said))
    return names


def job(environ: Mapping[str, str]) -> List[str]:
    """What tells this job from another of the same size, for the secret of its rendezvous."""
    starter = counts(environ)
    return _job(environ, starter) if starter in WORDS else []


def _asked(environ: Mapping[str, str], name: str) -> str:
    """`name`, of `EPL_STARTER`, if its variables are there."""
    there = environ.get(_TF_CONFIG, "").strip() if name == TF_CONFIG else _said(environ, name)
    if not there:
        raise ConfigError("{} = '{}', but {} is not set: start the job with it, or unset {}".format(
            VARIABLE, name, _TF_CONFIG if name == TF_CONFIG else WORDS[name].size, VARIABLE))
    return name


def _names() -> List[str]:
    return sorted(WORDS) + [TF_CONFIG, NONE]


def _job(environ: Mapping[str, str], starter: str) -> List[str]:
    return [environ[name] for name in WORDS[starter].job.split() if environ.get(name)]


def _said(environ: Mapping[str, str], starter: str) -> Optional[Said]:
    """What a starter says; None if it has not started this process."""
    words = WORDS[starter]
    if starter == SRUN and environ.get(words.size, "1").strip() in ("", "1"):
        # A shell of an allocation is task 0 of all that it has room for, and of no step. A step
        # may be one task: `srun --pty bash`.
        return Said(starter, 0, 1) if environ.get(words.size) else None
    if not environ.get(words.rank) and not environ.get(words.size):
        return None
    for missing, there in ((words.rank, words.size), (words.size, words.rank)):
        if not environ.get(missing):
            raise ConfigError("{} = '{}', but {} is not set: {} sets both; set both, or unset {}, "
                              "or {}={} for one worker".format(
                                  there, quoted(environ[there]), missing, starter, there, VARIABLE,
                                  NONE))
    rank, size = _number(environ, words.rank), _number(environ, words.size)
    if not 1 <= size <= MAX_WORKERS:
        raise ConfigError("{} = {}: use 1 to {} workers, or {}={} for one".format(
            words.size, size, MAX_WORKERS, VARIABLE, NONE))
    if rank >= size:
        raise ConfigError("{} = {}, but {} = {}: ranks are 0 to {}; set both as {} does".format(
            words.rank, rank, words.size, size, size - 1, starter))
    return Said(starter, rank, size)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ[name].strip()
    if not _NUMBER.fullmatch(text):
        raise ConfigError("{} = '{}': a whole number from 0 on is needed; unset it, or start the "
                          "job anew".format(name, quoted(environ[name])))
    return int(text)


def _agreed(environ: Mapping[str, str], found: List[Said]) -> Said:
    """The one whose word is taken; `found` are in the order of `WORDS`."""
    inner = [said for said in found if said.starter != SRUN]
    for other in inner[1:]:
        if other[1:] != inner[0][1:]:
            raise ConfigError("{}, but {}; {}".format(
                _words_of(environ, inner[0].starter), _words_of(environ, other.starter),
                _choice([inner[0].starter, other.starter])))
    outer = found[-1]
    return outer if not inner or outer[1:] == inner[0][1:] else inner[0]


def _words_of(environ: Mapping[str, str], starter: str) -> str:
    words = WORDS[starter]
    return "{} = {} and {} = {} ({})".format(
        words.rank, environ[words.rank].strip(), words.size, environ[words.size].strip(), starter)


def _choice(starters: List[str]) -> str:
    return "say which of them started the workers: {}, or {}={} for one worker".format(
        ", ".join("{}={}".format(VARIABLE, name) for name in starters), VARIABLE, NONE)


# Who is on which machine.


def _machines(environ: Mapping[str, str], said: Said) -> List[int]:
    """The number of every worker's machine, from 0. Ranks are dealt machine by machine."""
    words = WORDS[said.starter]
    on_each = _tasks_of_nodes(environ, said) if said.starter == SRUN else _equal(environ, said)
    machines = [machine for machine, tasks in enumerate(on_each) for _ in range(tasks)]
    place = said.rank - machines.index(machines[said.rank])
    if environ.get(words.local_rank) and _number(environ, words.local_rank) != place:
        raise ConfigError("{} = {} and {} = {}, but with {} worker(s) on each machine, one behind "
                          "the other, that is number {} of its machine: deal ranks out machine by "
                          "machine, the same number to each ({})".format(
                              words.rank, said.rank, words.local_rank, environ[words.local_rank],
                              "/".join(map(str, sorted(set(on_each)))), place,
                              _IN_ORDER.get(said.starter, "or leave both unset")))
    return machines


_IN_ORDER = {"mpirun": "mpirun --map-by slot", "mpiexec": "mpiexec -ppn N",
             SRUN: "srun --distribution=block", "torchrun": "torchrun --nproc_per_node N"}


def _equal(environ: Mapping[str, str], said: Said) -> List[int]:
    """As many workers on each machine as on this one."""
    name = WORDS[said.starter].local_size
    if environ.get(name):
        local = _number(environ, name)
        if not local or said.size % local:
            raise ConfigError("{} = {}, but {} = {}: start the same number of workers on each "
                              "machine".format(name, local, WORDS[said.starter].size, said.size))
    else:
        local = said.size if _is_loopback(environ.get(ADDRESS, "")) else 1
    return [local] * (said.size // local)


def _tasks_of_nodes(environ: Mapping[str, str], said: Said) -> List[int]:
    """Slurm's word for 2, 2, 2 and 1 tasks: 2(x3),1."""
    text = environ.get(_STEP_TASKS, "")
    parts = [_TASKS.fullmatch(part.strip()) for part in text.split(",")]
    tasks: List[int] = []
    for part in parts:
        if part is not None and len(tasks) <= said.size:
            tasks += [int(part.group(1))] * min(int(part.group(2) or 1), said.size)
    if None in parts or 0 in tasks or sum(tasks) != said.size:
        raise ConfigError("{} = '{}' does not tell on which nodes the {} = {} tasks are; start "
                          "them with srun, which sets both".format(
                              _STEP_TASKS, quoted(text), WORDS[SRUN].size, said.size))
    return tasks


# Where they meet.


def _first_host(environ: Mapping[str, str], said: Said, machines: List[int]) -> str:
    """An address of the machine of worker 0."""
    if machines[-1] == 0:
        return _LOOPBACK
    if environ.get(ADDRESS):
        if ":" in environ[ADDRESS]:
            raise ConfigError("{} = '{}': a host name or an IPv4 address is needed, without a port "
                              "(that is {})".format(ADDRESS, quoted(environ[ADDRESS]), PORT))
        return environ[ADDRESS].strip()
    if said.starter == SRUN and environ.get(_STEP_NODES):
        return _first_node(environ[_STEP_NODES])
    raise ConfigError("{} = {} on several machines, but {} is not set: set it to the machine of "
                      "rank 0, and {} to a free port there{}".format(
                          WORDS[said.starter].size, said.size, ADDRESS, PORT,
                          _PASS_ON.get(said.starter, "")))


_PASS_ON = {"mpirun": " (mpirun -x MASTER_ADDR=... -x MASTER_PORT=29500)",
            "mpiexec": " (mpiexec -genv MASTER_ADDR ... -genv MASTER_PORT 29500)"}


def _first_node(text: str) -> str:
    """The first of Slurm's list of nodes: n[007-012,20]-ib,m1 begins with n007-ib."""
    return _RANGE.sub(r"\1", text).split(",")[0].strip()


def _port(environ: Mapping[str, str], said: Said) -> int:
    """That of the user, or what follows from the job's name: every worker finds the same."""
    name = _job(environ, said.starter)
    if environ.get(PORT):
        port = _number(environ, PORT)
        if not 1 <= port <= _LAST_PORT:
            raise ConfigError("{} = {}: use 1 to {}".format(PORT, port, _LAST_PORT))
        if environ.get(_AGENT_HAS_PORT, "").lower() not in ("true", "1"):
            return port  # torchrun itself does not listen there
    elif not name or said.starter == "torchrun":
        raise ConfigError("{} = {}, but {} is not set, and {} names no job from which a port would "
                          "follow: set {} to a free port of the machine of rank 0, the same for "
                          "all{}".format(WORDS[said.starter].size, said.size, PORT, said.starter,
                                         PORT, _PASS_ON.get(said.starter, "")))
    digest = hashlib.sha256("\0".join(name).encode("utf-8", "surrogateescape")).digest()
    return _PORTS[int.from_bytes(digest[:8], "big") % len(_PORTS)]


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")
