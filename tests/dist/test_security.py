# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a running job opens to others: docs/security.md, seen from outside."""

import os
import stat

import pytest

from tests.support import sockets
from tests.support.launched import read, wait_until

# Trains for ever; writes down the secret that it was given.
TRAIN = """
import os, sys
import tensorflow.compat.v1 as tf
import epl
tf.disable_v2_behavior()
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))
weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.square(weight - 1.0))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for number in range(10 ** 9):
        session.run(step)
        if number == 3:
            with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "where"), "w") as file:
                file.write(os.environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"])
"""


@pytest.mark.parametrize("communicator, servers", [("shared_memory", 0), ("horovod", 0),
                                                   ("native", 2)])
def test_a_job_on_one_machine(start, script, communicator, servers):
    job = start(script("train.py", TRAIN), flags=["--grace", "1"],
                environment={"EPL_COMMUNICATION_COMMUNICATOR": communicator})
    paths = [job.path(worker, "where") for worker in (0, 1)]
    wait_until(lambda: job.process.poll() is not None
               or all(os.path.exists(path) and read(path) for path in paths), 90)
    if job.process.returncode is not None:
        pytest.fail(job.wait()[2])
    where, = {read(path).decode() for path in paths}
    address, secret = where.split("/")
    host, port = address.split(":")
    # The launcher's rendezvous, on the loopback interface; the workers have met and listen no more,
    # but for TensorFlow's servers, which listen everywhere.
    processes = sockets.family(job.process.pid)
    assert len(processes) >= 4
    found = sockets.of_processes(processes)
    assert found.count((host, int(port))) == 1 and host == "127.0.0.1"
    others = [address for address, number in found if number != int(port)]
    assert others == ["::"] * servers
    lines = [read("/proc/{}/cmdline".format(pid)) for pid in processes]
    assert len(secret) == 32 and not any(secret.encode() in line for line in lines)
    job.process.terminate()
    job.wait(60)
    for root, _, names in os.walk(job.directory):
        for name in set(names) - {"where"}:
            path = os.path.join(root, name)
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, path
            assert secret.encode() not in read(path), path


def test_a_directory_in_which_everybody_can_write_is_warned_of(start, script, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o777)
    code, _, err = start(script("nothing.py", ""), workers=1).wait(60)
    assert code == 0
    assert "epl-launch: directory '{}' can be written to by everybody (mode 777)".format(
        tmp_path / "logs") in err
