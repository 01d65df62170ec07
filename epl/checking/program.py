# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The script's step in plain TensorFlow: one process, one device, a graph and a session of its own.

The graph is the script's, as it was before the rewrite. What brought data in is replaced by
placeholders, nothing else. No graph optimizer runs, so that what one changes by mistake is seen.
"""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl.checking.script import Script, inputs, split, tensor
from epl.rewrite import op_traits

_INPUT = "epl_check_input_{}"


class Program:
    """One step, which can be run from any values of the variables."""

    def __init__(self, graph: Any, script: Script, outputs: Sequence[str], targets: Sequence[str],
                 given: Dict[str, Any], variables: Sequence[str], tables: Sequence[str],
                 writers: Sequence[str]):
        """Build it.

        Args:
          graph: the job's graph.
          script: what the script built of it.
          outputs: names of the tensors that will be fetched.
          targets: names of the operations that will be run.
          given: name of a tensor -> a value such as it will be given.
          variables: names of the variables that will be set and read.
          tables: names of the tables that the step looks up.
          writers: names of the operations that write variables.
        """
        self._outputs, self._targets = list(outputs), list(targets)
        self._inputs = {name: _INPUT.format(n) for n, name in enumerate(sorted(given))}
        replaced = {split(name)[0] for name in given}
        replaced = {name for name in replaced if all(
            t.name in given or t.dtype in (tf.variant, tf.resource)
            for t in graph.get_operation_by_name(name).outputs)}
        fillers = _fillers(graph, tables)
        ends = [split(name)[0] for name in outputs if name not in given]
        reached = set(script.behind(ends + list(targets) + fillers, replaced.__contains__, given))
        definition = script.definition(
            graph, [name for name in script.nodes if name in reached - replaced])
        _redirect(definition, self._inputs, replaced)
        _read_first(definition, script, [name for name in ends if name not in replaced], writers,
                    given)
        for name, value in given.items():
            definition.node.add().CopyFrom(_placeholder(
                graph.get_tensor_by_name(name), value, self._inputs[name]))
        with tf.Graph().as_default() as self._graph:
            tf.import_graph_def(definition, name="")
            self._state = {name: _access(self._graph.get_operation_by_name(name))
                           for name in variables if name in reached}
        self._session = tf.Session(graph=self._graph, config=_config())
        self._session.run([self._graph.get_operation_by_name(name) for name in fillers])

    def values(self, before: Dict[str, Any], given: Dict[str, Any],
               names: Sequence[str]) -> Dict[str, Any]:
        """The values of tensors that do not depend on an update."""
        self._set(before)
        return dict(zip(names, self._session.run([self._tensor(name) for name in names],
                                                 self._fed(given))))

    def run(self, before: Dict[str, Any], given: Dict[str, Any]) -> "Result":
        """Run the step from the values `before` of the variables, given values of tensors."""
        self._set(before)
        values, _ = self._session.run(
            [[self._tensor(name) for name in self._outputs],
             [self._graph.get_operation_by_name(name) for name in self._targets]],
            self._fed(given))
        variables = dict(before)
        variables.update(self._session.run({name: s.read for name, s in self._state.items()}))
        return Result(dict(zip(self._outputs, values)),
                      {name: np.array(value) for name, value in variables.items()})

    def close(self) -> None:
        self._session.close()

    def _tensor(self, name: str) -> Any:
        return self._graph.get_tensor_by_name(
            self._inputs[name] + ":0" if name in self._inputs else name)

    def _known(self, name: str) -> bool:
        try:
            self._graph.get_operation_by_name(split(name)[0])
        except KeyError:
            return False
        return True

    def _fed(self, given: Dict[str, Any]) -> Dict[Any, Any]:
        return {self._tensor(name): value for name, value in given.items()
                if name in self._inputs or self._known(name)}

    def _set(self, values: Dict[str, Any]) -> None:
        self._session.run([s.write for s in self._state.values()],
                          {s.value: values[name] for name, s in self._state.items()})


class Result(NamedTuple):
    """What a run gave: name of an output -> value; name of a variable -> value afterwards."""

    outputs: Dict[str, Any]
    variables: Dict[str, Any]


class _Access(NamedTuple):
    """How a variable is set and read."""

    value: Any
    write: Any
    read: Any


def _access(op: Any) -> _Access:
    dtype = tf.as_dtype(op.get_attr("dtype"))
    value = tf.placeholder(dtype)
    if op.outputs[0].dtype == tf.resource:
        return _Access(value, tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=value),
                       tf.raw_ops.ReadVariableOp(resource=op.outputs[0], dtype=dtype))
    return _Access(value, tf.assign(op.outputs[0], value, validate_shape=False).op,
                   tf.identity(op.outputs[0]))


def _config() -> Any:
    config = tf.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    return config


def _placeholder(original: Any, value: Any, name: str) -> Any:
    """The node of a placeholder for what stands for the tensor `original`."""
    shape = original.shape
    if not shape.is_compatible_with(np.shape(value)):
        shape = tf.TensorShape([None]).concatenate(shape[1:])
    with tf.Graph().as_default():
        return tf.placeholder(original.dtype.base_dtype, shape, name).op.node_def


def _redirect(definition: Any, given: Dict[str, str], replaced: Any) -> None:
    """Let nodes read the placeholders in `given` and wait for nothing in `replaced`."""
    for node in definition.node:
        texts: List[str] = []
        for text, (source, number) in zip(list(node.input), inputs(node)):
            if number < 0:
                texts.extend([] if source in replaced else [text])
            else:
                texts.append(given.get(tensor(source, number), text))
        del node.input[:]
        node.input.extend(texts)


def _read_first(definition: Any, script: Script, outputs: Sequence[str], writers: Sequence[str],
                given: Dict[str, Any]) -> None:
    """Let updates of variables wait for the outputs that do not depend on one.

    A loss may read a variable that its own gradients do not wait for.
    """
    early = [name for name in dict.fromkeys(outputs) if not set(writers).intersection(
        script.behind([name], lambda _: False, given))]
    for node in definition.node:
        if node.name in writers:
            node.input.extend("^" + name for name in early if "^" + name not in node.input)


def _fillers(graph: Any, tables: Sequence[str]) -> List[str]:
    """Names of the operations that fill `tables`."""
    return [op.name for op in graph.get_collection(tf.GraphKeys.TABLE_INITIALIZERS)
            if any(op_traits.handle_origin(t).name in tables for t in op.inputs
                   if op_traits.is_handle(t))]
