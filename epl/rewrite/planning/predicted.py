# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How much memory each device will need, before anything runs.

    the script's graph --partition--> forward, backward and update of each stage
         --ir.lifetimes--> what one micro-batch takes --plan.memory, schedule--> the device's peak

Only the script's own operations are looked at: all clones of them are alike.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError
from epl.ir import known_shapes
from epl.ir.environment import context_of, plan_for
from epl.ir.graph_state import GraphState, state_of
from epl.ir.lifetimes import Again, Lifetimes, computed
from epl.plan.action import FORWARD, WEIGHT_GRADIENTS
from epl.plan.layout import Device
from epl.plan.memory import DeviceMemory, StageMemory, at_peak
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import op_traits
from epl.rewrite.groups import groups_of, parts
from epl.rewrite.halves import in_halves
from epl.rewrite.partition import StepPartition, partition_step
from epl.rewrite.place import balance_by_size
from epl.rewrite.planning import automatic, chosen
from epl.rewrite.recompute import planned
from epl.rewrite.rewriting import Family, families, losses_of, raw_of, script_of
from epl.rewrite.walk import data_descendants, descendants

_LOOPS = frozenset(["LoopCond", "StatelessWhile", "While"])
_LAST_CACHE = 30 << 20  # bytes; what TensorFlow takes the last cache of every processor for


class Predicted(NamedTuple):
    """What the devices of this worker will need.

    Attributes:
      devices: this worker's devices with their memory.
      remarks: what was not counted, in words.
    """

    devices: Tuple[Tuple[Device, DeviceMemory], ...]
    remarks: Tuple[str, ...]

    def describe(self) -> List[str]:
        """Lines for people."""
        header = "{:>15}{:>12}{:>11}{:>11}{:>13}{:>11}{:>11}".format(
            "worker:device", "parameters", "state", "gradients", "activations", "working", "total")
        rows = ["{:>15}{:>12.1f}{:>11.1f}{:>11.1f}{:>13.1f}{:>11.1f}{:>11.1f}".format(
            "{}:{}".format(*device), *[number / 2 ** 20 for number in memory + (memory.total,)])
            for device, memory in self.devices]
        return ["memory of this worker's devices when most is in use, predicted, in MiB:",
                header] + rows + ["  " + remark for remark in self.remarks]


def predict(graph: Any, rows: Optional[int] = None) -> Predicted:
    """The memory that a training step of a graph will need.

    Args:
      graph: the script's, with its gradients and its optimizer.
      rows: of one micro-batch, where the graph leaves it open.

    Raises:
      ConfigError: there is nothing to predict for, or sizes that the graph leaves open.
    """
    state, plan = state_of(graph), plan_for(graph)
    if any(group.rewritten for group in groups_of(state)):
        raise ConfigError("a session has run the graph, which is another one since: ask before "
                          "the first session.run")
    known = families(groups_of(state)) or [[]]
    if plan is None or not _writes(graph):
        raise ConfigError("{}: ask behind the optimizer's minimize".format(
            "no strategy is set" if plan is None else "nothing is trained yet"))
    choice = chosen.known(graph, plan)
    plan = plan if choice is None else choice.best.plan
    if automatic.is_wanted(graph, plan):
        automatic.assign(graph, state, plan)
    own = context_of(graph).of_process.cluster.worker_index
    found: Dict[Device, DeviceMemory] = {}
    remarks: List[str] = []
    for family in known:
        model = _Model(graph, state, plan, step_parts(graph, state, plan, family), family,
                       rows)
        for device, memory in model.devices():
            device = plan.real(device)
            if device.worker == own and (
                    device not in found or memory.total > found[device].total):
                found[device] = memory
        remarks += [each for each in model.remarks if each not in remarks]
    return Predicted(tuple(sorted(found.items())), tuple(remarks))


class StepParts(NamedTuple):
    """The operations of a step.

    Attributes:
      forward: of the forward pass.
      backward: what the gradients need beside them.
      returned: what hands the gradients to the script.
      update: what is done with them.
      partition: the stages and phases of the first two; None: there is one stage, and no order.
    """

    forward: Set[Any]
    backward: Set[Any]
    returned: Set[Any]
    update: Set[Any]
    partition: Optional[StepPartition]


def step_parts(graph: Any, state: GraphState, plan: ParallelPlan, family: Family) -> StepParts:
    if not family:  # one device: gradients are TensorFlow's own, and nobody took them down
        return StepParts(set(), set(), set(), computed(_writes(graph)), None)
    partition = in_halves(
        partition_step(losses_of(family), raw_of(family), [], script_of(state)), plan,
        state.provenance)
    forward = computed(y.op for y in losses_of(family))
    needed = computed(t.op for t in raw_of(family)) - forward
    early = {op for op in needed if partition.phase.get(op) == FORWARD}
    returned = {op for group in family for op in group.returned_ops}
    reached = descendants(returned)
    update = computed(op for op in _writes(graph) if op in reached)
    return StepParts(forward | early, needed - early, returned,
                  update - forward - needed - returned, partition)


def is_trained(graph: Any) -> bool:
    """True if something of a graph learns from data."""
    return bool(_writes(graph))


def _writes(graph: Any) -> List[Any]:
    """What writes variables with something that follows from the data."""
    ops = compat.operations_from(graph, 0)
    for begins in (op_traits.starts_batch, _is_fed):  # with one clone any placeholder may hold rows
        following = data_descendants(
            op for op in ops if begins(op) and not op_traits.is_random(op))
        found = [op for op in ops if op in following and op_traits.written_variables(op)]
        if found:
            return found
    return []


def _is_fed(op: Any) -> bool:
    return op.type in op_traits.PLACEHOLDERS


class _Model:
    """A model and one loss of it."""

    def __init__(self, graph: Any, state: GraphState, plan: ParallelPlan, step: StepParts,
                 family: Family, rows: Optional[int]):
        context = context_of(graph)
        self._graph, self._state, self._plan = graph, state, plan
        self._step, self._family = step, family
        self._config, self._worker = context.config, context.cluster.worker_index
        # Those of oneDNN and cuDNN need little beside what they give.
        self._has_kernels = compat.HAS_ONEDNN or context.cluster.device_type == "gpu"
        self._clones = plan.clones_per_worker(self._worker)
        everything = step.forward | step.backward | step.returned | step.update
        self._size = known_shapes.Sizes(sorted(everything, key=compat.op_id), rows)
        self._stage = _stages(step, family, self._size.of, state.provenance)
        self._again = planned(graph, state, plan, family, step.partition) if (
            self._config.gradient_checkpoint.type and step.partition is not None) else {}
        self.remarks = _remarks(step.forward | step.update, self._config)

    def devices(self) -> List[Tuple[Device, DeviceMemory]]:
        """This worker's devices and what each needs."""
        memory = {stage: self._passes(stage) for stage in range(self._plan.num_stages)}
        peaks = {column: at_peak({stage: memory[stage] for stage in column}, actions)
                 for column, actions in zip(self._plan.columns, self._plan.actions)}
        variables = self._variables()
        found = {}
        for placement in self._plan.placements:
            column = next(each for each in peaks if placement.stage in each)
            for device in placement.devices:
                if device.worker == self._worker:
                    parameters, kept = variables.get(device, (0, 0))
                    found[device] = peaks[column]._replace(parameters=parameters, state=kept)
        return list(found.items())

    def _passes(self, stage: int) -> StageMemory:
        """What the passes of a stage take; variables are not counted here."""
        forward = self._of(self._step.forward, stage)
        backward = self._of(self._step.backward, stage)
        update = self._of(self._step.returned, stage) + self._of(self._step.update, stage)
        at_once = self._clones == 1 and self._plan.num_workers == 1
        device = Lifetimes(forward + backward + update, self._size.of, self._workspace,
                           Again(self._again, set(backward)))
        peak = device.run(forward)
        held = device.in_use
        late = [op for op in backward if self._is_put_off(op)]
        early = [op for op in backward if not self._is_put_off(op)]
        first = device.run(early) if late else 0
        put_off = device.in_use if late else 0
        most = device.run((late or early) + (update if at_once else []))
        dense, sparse = self._gradients(stage)
        share = self._plan.num_slices  # of a micro-batch's rows a device works on
        gradients, rows = sum(map(self._size.of, dense)), sum(map(self._size.of, sparse))
        own = gradients + rows
        most = (most - own) // share + own if most > own else most
        return StageMemory(
            0, 0, gradients, rows // share, held // share, peak // share,
            first // share if late else most,
            None if at_once else self._updating(update, dense + sparse),
            put_off // share, most if late else 0)

    def _is_put_off(self, op: Any) -> bool:
        partition = self._step.partition
        return partition is not None and partition.phase.get(op) == WEIGHT_GRADIENTS

    def _updating(self, update: List[Any], gradients: List[Any]) -> int:
        device = Lifetimes(update, self._size.of, self._workspace)
        device.receive(gradients)
        more = device.run(update) - sum(map(self._size.of, gradients))
        return max(0, more) // max(1, self._config.optimizer.num_apply_group)

    def _gradients(self, stage: int) -> Tuple[List[Any], List[Any]]:
        """The tensors of a stage's gradients: dense ones, and those of sparse ones."""
        dense: List[Any] = []
        sparse: List[Any] = []
        for group in self._family:
            for gradient in group.gradients:
                tensors = [t for t in parts(gradient.raw) if self._stage.get(t.op) == stage]
                (sparse if isinstance(gradient.raw, tf.IndexedSlices) else dense).extend(tensors)
        return dense, sparse

    def _variables(self) -> Dict[Device, Tuple[int, int]]:
        """Bytes of (parameters, other variables) on each device of this worker."""
        trained = {compat.variable_key(g.variable): g.variable
                   for group in groups_of(self._state) for g in group.gradients} or {
            compat.variable_key(v): v for v in self._graph.get_collection(
                tf.GraphKeys.TRAINABLE_VARIABLES)}
        found: Dict[Device, List[int]] = {}
        places = self._places(trained)
        for variable in compat.global_variables(self._graph):
            op = compat.variable_key(variable)
            device = places.get(op)
            if device is None:
                owner = next((t for t in compat.colocated_with(op) if t in places), None)
                stage = self._stage.get(op, self._state.provenance.stage_of(op))
                device = places[owner] if owner is not None else self._own_devices(stage)[0]
            size = (variable.shape.num_elements() or 1) * variable.dtype.base_dtype.size
            if op not in trained and self._config.zero.level \
                    and self._state.provenance.is_of_optimizer(op):
                size = -(-size // self._plan.num_workers)
            found.setdefault(device, [0, 0])[op not in trained] += size
        return {device: (sizes[0], sizes[1]) for device, sizes in found.items()}

    def _places(self, trained: Dict[Any, Any]) -> Dict[Any, Device]:
        """The device of each trained variable."""
        places: Dict[Any, Device] = {}
        for stage in range(self._plan.num_stages):
            members = [op for op in sorted(trained, key=lambda op: str(op.name))
                       if self._state.provenance.stage_of(op) == stage]
            sizes = [int(trained[op].shape.num_elements() or 1) * trained[op].dtype.base_dtype.size
                     for op in members]
            devices = self._own_devices(stage)
            for op, number in zip(members, balance_by_size(sizes, len(devices))):
                places[op] = devices[number]
        return places

    def _own_devices(self, stage: int) -> List[Device]:
        """Those of this worker that hold a stage's variables."""
        if self._config.offload.level:
            return [Device(self._worker, 0)]
        return [device for p in self._plan.placements if p.stage == stage
                for device in p.devices if device.worker == self._worker]

    def _of(self, ops: Iterable[Any], stage: int) -> List[Any]:
        return [op for op in ops if self._stage.get(op, 0) == stage]

    def _workspace(self, op: Any) -> int:
        return 0 if self._has_kernels else _columns(op, self._size.shape)


def _stages(step: StepParts, family: Family, size: Callable[[Any], int],
            provenance: Any) -> Dict[Any, int]:
    """The stage of every operation, those of the update too."""
    if step.partition is None:
        return {}
    found = dict(step.partition.stage)
    for group in family:
        for gradient in group.gradients:
            stage = provenance.stage_of(compat.variable_key(gradient.variable))
            for part in parts(gradient.returned):
                found[part.op] = stage
    for op in sorted(step.update, key=compat.op_id):
        if op not in found:  # where the largest thing is that it reads
            known = [(size(t), -number, found[t.op]) for number, t in enumerate(op.inputs)
                     if t.op in found]
            found[op] = max(known)[-1] if known else 0
    return found


def _columns(op: Any, shape: Callable[[Any], List[Optional[int]]]) -> int:
    """Bytes in which TensorFlow without oneDNN lays out images for the gradient of a kernel.

    As many images as fill the last cache together with the rest, be the batch as small as it may
    (source: Conv2DCustomBackpropFilterOp in tensorflow/core/kernels/conv_grad_filter_ops.cc).
    """
    if op.type != "Conv2DBackpropFilter":
        return 0
    kernel = [size or 1 for size in shape(op.outputs[0])]  # height, width, channels, filters
    places = np.prod([size or 1 for size in shape(op.inputs[2])[1:-1]])
    columns = int(places * np.prod(kernel[:-1]))
    image = columns + int(places * kernel[-1] + np.prod(kernel))
    return -(-_LAST_CACHE // 4 // image) * columns * 4


def _remarks(ops: Iterable[Any], config: Any) -> List[str]:
    """What the prediction leaves out."""
    loops = sum(op.type in _LOOPS for op in ops)
    found = []
    if loops:
        found.append("{} loop(s) are counted as if they had one turn".format(loops))
    if config.amp.level and config.amp.dtype != "float32":
        found.append("amp.level: activations are counted in 32 bits")
    if config.zero.level == "v2":
        found.append("zero.level: parameters are counted whole, as a step gathers them")
    elif config.zero.level == "v1":
        found.append("zero.level: gradients are counted before they are reduced")
    return found
