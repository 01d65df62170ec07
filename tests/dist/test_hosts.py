# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Jobs on two real hosts: network namespaces of this machine with an sshd in each.

Both ways to start them are tested: `--hosts` from one host by ssh, and `--machine_list` by hand on
each.
"""

import os
import pickle
import re
import signal
import sys
import time

import numpy as np
import pytest

from tests.support import network as networks
from tests.support import sockets
from tests.support.host_jobs import Job
from tests.support.jobs import JOBS, alone, launch
from tests.support.layouts import BLOCK, Case, Layout, Training

HOST_TIMEOUT = 4.0
# After a cut: until the silence is noticed, workers obey SIGTERM (those inside a collective that
# never ends are killed after --grace), and Python has ended; on two busy cores.
END_AFTER_CUT = HOST_TIMEOUT + 20.0
CUT = ["--host_timeout", str(HOST_TIMEOUT), "--grace", "2"]

TRAIN = """
import os, pickle, sys
import psutil
import tensorflow.compat.v1 as tf
import epl
from tests.support import training

tf.disable_v2_behavior()
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))
cluster = epl.Env.get().cluster
results = {model + optimizer: training.train(model, optimizer, True, rank=cluster.worker_index,
                                             workers=cluster.worker_num)
           for model, optimizer in (("mlp_embedding", "adam"), ("batch_norm", "sgd"))}
connections = [(c.laddr.ip, c.raddr.ip) for c in psutil.Process().connections("tcp4") if c.raddr]
with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
    pickle.dump((results, connections, os.environ["HOROVOD_GLOO_IFACE"]), file)
if os.environ["EPL_RESTART_COUNT"] == "0" and sys.argv[1:] == [str(cluster.worker_index)]:
    sys.exit(3)
"""

# Steps for ever: only what happens to the job ends it.
ENDLESS = """
import sys
import tensorflow.compat.v1 as tf
import horovod.tensorflow as hvd
tf.disable_v2_behavior()
hvd.init()
total = hvd.allreduce(tf.constant([hvd.rank() + 1.0]), op=hvd.Sum, name="total")
with tf.Session() as session:
    while True:
        assert session.run(total)[0] == 3.0
        print("step", flush=True)
"""

# Hangs in training the first time, trains the second.
COMES_BACK = """
import os
import tensorflow.compat.v1 as tf
import epl
tf.disable_v2_behavior()
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))
weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.square(weight - 1.0))
count = 0
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    while os.environ["EPL_RESTART_COUNT"] == "0" or count < 3:
        session.run(step)
        count += 1
        if count == 3:
            print("three steps, attempt", os.environ["EPL_RESTART_COUNT"], flush=True)
"""

# Worker 1 exits with 7 after three steps, worker 0 has no end of its own.
FAILS_LATE = """
import os, sys
import tensorflow.compat.v1 as tf
import epl
tf.disable_v2_behavior()
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))
weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.square(weight - 1.0))
count = 0
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    while True:
        session.run(step)
        count += 1
        if count == 3:
            print("three steps", flush=True)
            if os.environ["EPL_WORKER_INDEX"] == "1":
                sys.exit(7)
"""

FLOOD = """
import os, sys
if os.environ["EPL_WORKER_INDEX"] == "1":
    for number in range(400000):
        print(number)
    sys.stdout.write("x" * 30000000)
"""

PLAIN = """
import os, subprocess, sys, time
print("worker", os.environ["EPL_WORKER_INDEX"], "has", os.environ.get("TOKEN"),
      os.environ.get("OTHER"), os.getcwd(), sys.argv[1:], flush=True)
said = os.environ.get("SAID")  # a file: worker 0 has said who it is
if said and os.environ["EPL_WORKER_INDEX"] == "0":
    open(said, "w").close()
if os.environ["EPL_WORKER_INDEX"] == "1":
    while said and not os.path.exists(said):
        time.sleep(0.1)
    print(subprocess.check_output(["ps", "axww", "-o", "args"]).decode().count("swordfish"))
    print("no data", file=sys.stderr)
    sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture(scope="module")
def network():
    reason = networks.why_not()
    if reason is not None:
        pytest.skip(reason)
    network = networks.Network()
    yield network
    network.close()


@pytest.fixture
def start(network, tmp_path):
    """Starts jobs; after the test nothing of them may be left on either host."""
    jobs = []

    def begin(way, script, *arguments, **more):
        if not os.path.isabs(str(script)):
            path = tmp_path / "script.py"
            path.write_text(script)
            script = path
        jobs.append(Job(network, way, tmp_path / "job{}".format(len(jobs)), script, *arguments,
                        **more))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.close()
    left = network.wait_until_quiet(20)
    network.join()
    assert not left


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The results of the same job with two workers on one host."""
    directory = tmp_path_factory.mktemp("local")
    script = directory / "train.py"
    script.write_text(TRAIN)
    done = launch(str(script), directory / "job").check()
    return [load(done.path(worker, "results.pkl"))[0] for worker in (0, 1)]


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


WAYS = pytest.mark.parametrize("way", ["ssh", "machine_list"])


@WAYS
def test_two_hosts_train_exactly_as_two_workers_of_one_host(start, local, way):
    job = start(way, TRAIN)
    assert set(job.wait()) == {0}, job.outputs
    for worker in (0, 1):
        results, connections, interface = load(
            os.path.join(job.directory, str(worker), "results.pkl"))
        for case, (losses, variables) in local[worker].items():
            np.testing.assert_array_equal(results[case][0], losses)
            for name, value in variables.items():
                np.testing.assert_array_equal(results[case][1][name], value, err_msg=name)
        assert interface == networks.INTERFACE
        pair = (networks.ADDRESSES[worker], networks.ADDRESSES[1 - worker])
        assert pair in connections  # Gloo's, over the cable


@pytest.mark.parametrize("way, workers, stages", [
    ("ssh", (2, 1), 3), ("machine_list", (1, 1), 2)])
def test_a_replica_lies_on_both_hosts(start, tmp_path, way, workers, stages):
    case = Case(Training("mlp", "adam", clip=True, resource=False),
                Layout((1,) * stages, 1, 4, "PreferBackward", BLOCK))
    source, plain = tmp_path / "cases", tmp_path / "references"
    source.write_bytes(pickle.dumps([(case, {"communication.communicator": "native"})]))
    plain.write_bytes(pickle.dumps([case.reference]))
    job = start(way, os.path.join(JOBS, "teams.py"), str(source), workers=workers)
    expected, = load(alone("plain_cases.py", tmp_path / "plain", plain, warm=True)
                     .check().path(0, "results.pkl"))
    assert set(job.wait()) == {0}, job.outputs
    for worker in range(sum(workers)):
        found, = load(os.path.join(job.directory, str(worker), "results.pkl"))
        assert not found.error, found.error
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
        for name, value in expected.variables.items():
            np.testing.assert_allclose(found.variables[name], value, rtol=1e-5, atol=1e-6,
                                       err_msg=name)


def test_hosts_that_make_no_whole_replicas_are_refused_with_flags_that_do(start, tmp_path):
    case = Case(Training("mlp", "adam", clip=True, resource=False),
                Layout((1, 1), 1, 1, "PreferBackward", BLOCK))
    source = tmp_path / "cases"
    source.write_bytes(pickle.dumps([(case, {"communication.communicator": "native"})]))
    job = start("ssh", os.path.join(JOBS, "teams.py"), str(source), workers=(2, 1))
    job.wait()
    for worker in range(3):
        found, = load(os.path.join(job.directory, str(worker), "results.pkl"))
        for words in ("3 device(s) (3 worker(s) x 1)", "replicas of 2 device(s) each: 1 would be "
                      "left over; use a multiple of 2",
                      "epl-launch --num_workers 1 --gpu_per_worker 2"):
            assert words in found.error


@WAYS
def test_what_listens_where(network, start, way):
    """The launcher, at the one address that the other host uses; the workers have met."""
    job = start(way, ENDLESS, options=["--grace", "1"])
    job.wait_for(r"\[{}:1\] step".format(networks.ADDRESSES[1]))
    listening = [sockets.of_processes(network.processes(host)) for host in (0, 1)]
    assert [address for address, _ in listening[0]] == [networks.ADDRESSES[0]], listening
    assert listening[1] == []
    secrets = {variables["HOROVOD_GLOO_RENDEZVOUS_ADDR"].partition("/")[2]
               for variables in network.environments()
               if "HOROVOD_GLOO_RENDEZVOUS_ADDR" in variables}
    secret, = secrets
    assert len(secret) == 32
    for host in (0, 1):
        assert not any(secret in line for line in network.processes(host).values())
    for process in job.processes:
        process.terminate()
    job.wait()


@WAYS
def test_training_goes_on_after_a_restart(start, local, way):
    job = start(way, TRAIN, "1", options=["--max_restarts", "1"])
    assert set(job.wait(180)) == {0}, job.outputs
    assert "restart 1 of at most 1" in job.outputs[0]
    results = load(os.path.join(job.directory, "1", "results.pkl"))[0]
    assert set(results) == set(local[1])


@WAYS
@pytest.mark.parametrize("end", [0, 1])
def test_a_pulled_cable_ends_the_job_on_both_sides(network, start, way, end):
    job = start(way, ENDLESS, options=CUT)
    job.wait_for(r"\[{}:1\] step".format(networks.ADDRESSES[1]))
    network.set_link(end, "down")
    begin = time.monotonic()
    assert set(job.wait(END_AFTER_CUT)) == {1}, job.outputs
    verdict = r"\+-- epl-launch: host {} lost: nothing was heard from it for \d+ s, since \d\d:\d\d"
    assert re.search(verdict.format(networks.ADDRESSES[1]), job.outputs[0]), job.outputs
    if way == "machine_list":
        assert re.search(verdict.format(networks.ADDRESSES[0]), job.outputs[1]), job.outputs
    left = network.wait_until_quiet(END_AFTER_CUT - (time.monotonic() - begin))
    assert not left


@WAYS
def test_a_cable_that_is_plugged_in_again_lets_the_job_start_again(network, start, way):
    job = start(way, COMES_BACK, options=CUT + ["--max_restarts", "1"])
    job.wait_for(r"\[{}:1\] three steps, attempt 0".format(networks.ADDRESSES[1]))
    network.set_link(1, "down")
    job.wait_for("restart 1 of at most 1")
    network.set_link(1, "up")
    assert set(job.wait(120)) == {0}, job.outputs
    for output in job.outputs:
        assert "[{}:1] three steps, attempt 1".format(networks.ADDRESSES[1]) in output


@WAYS
def test_a_machine_that_is_stopped_is_lost_and_ends_its_workers_when_it_goes_on(
        network, start, way):
    job = start(way, ENDLESS, options=CUT)
    job.wait_for(r"\[{}:1\] step".format(networks.ADDRESSES[1]))
    network.signal(1, signal.SIGSTOP)
    try:
        assert job.processes[0].wait(END_AFTER_CUT) == 1, job.outputs
        assert re.search(r"\+-- epl-launch: host {} lost: nothing was heard from it for".format(
            networks.ADDRESSES[1]), job.outputs[0])
    finally:
        network.signal(1, signal.SIGCONT)
    assert set(job.wait(END_AFTER_CUT)) == {1}, job.outputs
    assert not network.wait_until_quiet(END_AFTER_CUT)


@WAYS
def test_a_slow_line_changes_no_verdict(tmp_path, way):
    """A round trip of 0.2 s, and one packet in twenty lost: training, then a failure."""
    reason = networks.why_not() or networks.why_not_slow()
    if reason is not None:
        pytest.skip(reason)
    network = networks.Network(cable=networks.Slow(0.1, 0.05))
    script = tmp_path / "script.py"
    script.write_text(FAILS_LATE)
    job = Job(network, way, tmp_path / "job", script)
    try:
        assert set(job.wait(240)) == {7}, job.outputs
        for output in job.outputs:
            assert "[{}:1] three steps".format(networks.ADDRESSES[1]) in output
            assert "+-- epl-launch: worker 1 exited with code 7" in output
        assert not network.wait_until_quiet(END_AFTER_CUT)
    finally:
        job.close()
        network.close()


@WAYS
def test_a_failure_ends_the_job_everywhere_with_its_code(start, way, tmp_path):
    job = start(way, PLAIN, options=["--env", "CODE=7", "--env", "SAID={}".format(
        tmp_path / "said")])
    assert set(job.wait()) == {7}, job.outputs
    for output in job.outputs:
        assert "+-- epl-launch: worker 1 exited with code 7" in output
    assert "on host " + networks.ADDRESSES[1] in job.outputs[0]
    assert "[{}:1] no data".format(networks.ADDRESSES[1]) in job.outputs[0]
    with open(os.path.join(job.directory, "1", "stderr.log")) as file:
        assert file.read() == "no data\n"
    with open(os.path.join(job.directory, "combined.log")) as file:
        combined = file.read()
    assert "[worker 0] worker 0 has" in combined
    assert "[{}:1] no data".format(networks.ADDRESSES[1]) in combined


def test_a_remote_worker_gets_named_variables_only_and_no_command_line_shows_them(start):
    job = start("ssh", PLAIN, "two words", "-x", environment={"TOKEN": "swordfish", "OTHER": "1"},
                options=["--env", "TOKEN"])
    assert job.wait(30) == [0], job.outputs
    prefix = "[{}:1] ".format(networks.ADDRESSES[1])
    assert prefix + "worker 1 has swordfish None {} ['two words', '-x']".format(
        os.getcwd()) in job.outputs[0]
    assert prefix + "0\n" in job.outputs[0]  # command lines that contain it


@WAYS
def test_a_flood_of_output_arrives_whole(start, way):
    job = start(way, FLOOD, options=["--tee", "none"])
    assert set(job.wait(100)) == {0}, job.outputs
    with open(os.path.join(job.directory, "1", "stdout.log"), "rb") as file:
        assert file.read() == b"".join(b"%d\n" % i for i in range(400000)) + b"x" * 30000000


@WAYS
def test_no_worker_survives_a_killed_launcher(network, start, way):
    job = start(way, ENDLESS)
    job.wait_for(r"\[{}:1\] step".format(networks.ADDRESSES[1]))
    launcher = [pid for pid, line in network.processes(0).items() if " epl.launcher " in line]
    os.kill(launcher[0], signal.SIGKILL)
    assert not network.wait_until_quiet(20)
    if way == "machine_list":
        assert job.wait(20)[1] == 1
        assert re.search("host {} lost: the connection (was closed|broke)".format(
            networks.ADDRESSES[0]), job.outputs[1])


@WAYS
def test_ctrl_c_at_any_launcher_ends_the_job_on_all_hosts(network, start, way):
    job = start(way, ENDLESS)
    job.wait_for(r"\[{}:1\] step".format(networks.ADDRESSES[1]))
    job.processes[-1].send_signal(signal.SIGINT)
    assert set(job.wait(30)) == {130}, job.outputs
    for output in job.outputs:
        assert "interrupted by SIGINT (2)" in output


def test_machines_wait_for_each_other_and_name_who_is_missing(start):
    job = start("machine_list", PLAIN, options=["--start_timeout", "3"], ranks=(0,))
    assert job.wait(20) == [2]
    assert "epl-launch: waiting for machine 1 ({})".format(
        networks.ADDRESSES[1]) in job.outputs[0]
    assert "error: machine 1 ({}) did not connect in 3 s".format(
        networks.ADDRESSES[1]) in job.outputs[0]


def test_a_machine_waits_for_machine_0(start):
    job = start("machine_list", PLAIN, options=["--start_timeout", "3"], ranks=(1,))
    assert job.wait(20) == [2]
    assert "waiting for machine 0" in job.outputs[0]
    assert "error: machine 0 did not answer at {}:5600 in 3 s".format(
        networks.ADDRESSES[0]) in job.outputs[0]


def test_ctrl_c_while_waiting(start):
    job = start("machine_list", PLAIN, ranks=(0,))
    job.wait_for("waiting for machine 1")
    job.processes[0].send_signal(signal.SIGINT)
    assert job.wait(10) == [130]


def test_different_scripts_are_refused_on_all_machines(start, tmp_path):
    scripts = [tmp_path / "a.py", tmp_path / "b.py"]
    for number, script in enumerate(scripts):
        script.write_text("print('trained', {})".format(number))
    job = start("machine_list", scripts[0], scripts=scripts)
    assert job.wait(30) == [2, 2], job.outputs
    for output in job.outputs:
        assert "the machines do not fit together: the script (SHA-256) differs: " in output
        assert "trained" not in output


@WAYS
def test_a_machine_whose_name_stands_for_loopback_is_refused(tmp_path, way):
    reason = networks.why_not()
    if reason is not None:
        pytest.skip(reason)
    network = networks.Network(names=(networks.ADDRESSES[0], "127.0.1.1"))
    script = tmp_path / "script.py"
    script.write_text(PLAIN)
    job = Job(network, way, tmp_path / "job", script)
    try:
        assert set(job.wait(30)) == {2}, job.outputs
        for output in job.outputs:
            assert re.search(r"error: .*{}.*: its own name '\S+' stands for 127.0.1.1".format(
                networks.ADDRESSES[1]), output)
    finally:
        job.close()
        network.close()


def test_a_host_without_its_ssh_server_is_named(start, network):
    job = start("ssh", PLAIN, options=["--ssh_port", "1"])
    assert job.wait(30) == [2]
    assert re.search("error: host {} cannot be used by ssh: .*Connection refused".format(
        networks.ADDRESSES[1]), job.outputs[0])


def test_a_host_with_another_python_is_refused(start, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/bash\nexport PYTHONPATH={}:$PYTHONPATH\nexec {} \"$@\"\n".format(
        tmp_path, sys.executable))
    python.chmod(0o755)
    (tmp_path / "tensorflow-0.0.1.dist-info").mkdir()  # found first, as another version would be
    job = start("ssh", PLAIN, options=["--remote_python", str(python)])
    assert job.wait(30) == [2]
    assert re.search(r"error: the hosts do not fit together: the version of TensorFlow differs: "
                     r"\S+ on localhost, 0.0.1 on " + networks.ADDRESSES[1], job.outputs[0])


NVIDIA_SMI = """#!/bin/sh
if ip -o addr show {interface} | grep -q {first}; then echo 0; echo 1; else seq 4 7; fi
"""
SEES = """
import os
print("sees", os.environ["CUDA_VISIBLE_DEVICES"], os.environ["EPL_DEVICE_TYPE"])
"""


def test_every_host_has_its_own_gpus(start, tmp_path):
    """Two on the first host and four on the second, as a stand-in for nvidia-smi says."""
    for name, text in (("nvidia-smi", NVIDIA_SMI.format(interface=networks.INTERFACE,
                                                        first=networks.ADDRESSES[0])),
                       ("python", "#!/bin/bash\nexport PATH={}:$PATH\nexec {} \"$@\"\n".format(
                           tmp_path, sys.executable))):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    options = ["--gpu_per_worker", "2", "--remote_python", str(tmp_path / "python"),
               "--hosts", "{}:1,{}:2".format(*networks.ADDRESSES)]
    environment = {"PATH": "{}:{}".format(tmp_path, os.environ["PATH"]),
                   "CUDA_VISIBLE_DEVICES": "0,1"}
    dry = start("ssh", SEES, options=options + ["--dry_run"], environment=environment)
    assert dry.wait(30) == [0], dry.outputs
    assert not os.path.exists(dry.directory)
    far = networks.ADDRESSES[1]
    assert re.findall(r"(?m)^(?:worker|  devices) +(.*)$", dry.outputs[0]) == [
        "0 on localhost", "GPU 0,1", "1 on " + far, "GPU 4,5", "2 on " + far, "GPU 6,7"]
    job = start("ssh", SEES, options=options, environment=environment)
    assert job.wait(30) == [0], job.outputs
    assert sorted(line for line in job.outputs[0].splitlines() if "sees" in line) == [
        "[{}:1] sees 4,5 gpu".format(far), "[{}:2] sees 6,7 gpu".format(far),
        "[worker 0] sees 0,1 gpu"]
