# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Allocation records of a traced run, as a GPU's look."""

import pytest
import tensorflow.compat.v1 as tf

from epl.profiler.memory import megabytes, read_memory

GPU = "/job:localhost/replica:0/task:0/device:GPU:0"
CPU = "/job:localhost/replica:0/task:0/device:CPU:0"


def step_stats(devices):
    """`devices`: name -> [(operation, bytes that stay, [(allocator, in use, [(time, bytes)])])]."""
    stats = tf.RunMetadata().step_stats
    for device, operations in devices.items():
        found = stats.dev_stats.add(device=device)
        for name, persistent, allocators in operations:
            node = found.node_stats.add(node_name=name, all_start_micros=1000)
            node.memory_stats.persistent_memory_size = persistent
            for allocator, in_use, records in allocators:
                used = node.memory.add(allocator_name=allocator, allocator_bytes_in_use=in_use)
                for time, size in records:
                    used.allocation_records.add(alloc_micros=time, alloc_bytes=size)
    return stats


def test_a_gpu_and_its_host():
    gpu, = [each for each in read_memory(step_stats({
        GPU: [("weight", 400, []),
              ("first", 0, [("GPU_0_bfc", 0, [(1001, 100), (1005, -100)])]),
              ("shape", 0, [("gpu_host_bfc", 7000, [(1002, 7000)])]),
              ("second", 0, [("GPU_0_bfc", 0, [(1003, 50), (1006, -50)])])],
        "/device:GPU:0/stream:all": [("first:MatMul", 0, [("GPU_0_bfc", 0, [(1001, 9000)])])],
        CPU: [("input", 0, [("cpu", 0, [(1000, 10)])])]})) if each.short == "GPU:0"]
    assert (gpu.device, gpu.persistent, gpu.peak) == (GPU, 400, 550)
    assert [record.in_use for record in gpu.records] == [400, 500, 550, 450, 400]
    assert gpu.peak_of({"first"}) == 100 and gpu.peak_of({"first", "second"}) == 150
    assert gpu.peak_of({"weight"}) == 0  # it was there before


def test_the_allocator_of_a_gpu_knows_more_than_the_run():
    gpu, = read_memory(step_stats({GPU: [("one", 0, [("GPU_0_bfc", 5000, [(1001, 100)])])]}))
    assert gpu.peak == 5000


def test_the_allocator_of_a_host_counts_other_sessions():
    cpu, = read_memory(step_stats({CPU: [("one", 0, [("mklcpu", 5000, [(1001, 100)])])]}))
    assert cpu.peak == 100


def test_what_is_given_back_is_free_at_once():
    cpu, = read_memory(step_stats({CPU: [
        ("one", 0, [("cpu", 0, [(1001, 100), (1002, -100)])]),
        ("two", 0, [("cpu", 0, [(1002, 100)])])]}))
    assert cpu.peak == 100


@pytest.mark.parametrize("devices", [{}, {CPU: []}, {CPU: [("one", 0, [("cpu", 0, [])])]}])
def test_nothing_is_used(devices):
    assert read_memory(step_stats(devices)) == []


def test_bytes_for_people():
    assert megabytes(3 << 19) == "1.500 MiB"
