# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Windows on disk, so that a file of questions is converted only once.

    DIR/<key>.tfrecord    one `tf.train.Example` for every window, then one that says what the key
                          is made of, and how many windows there are
    DIR/<key>.lock        locked by the process that is making the file

The key is a hash of all that the windows depend on. A file gets its name when it is complete, and
never changes. Processes that need the same one wait for the first of them to make it, however it
ends.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from typing import Any, Dict, Iterator, List

import numpy as np
import tensorflow.compat.v1 as tf

from examples.bert import features, squad, tokenization
from examples.bert.conversion import convert
from examples.bert.errors import UserError
from examples.bert.features import Reader, Window
from examples.bert.progress_bar import ProgressBar
from examples.bert.squad import QuestionFile

_FORMAT = 1
_WRITTEN_BY = (squad, tokenization, features)


class FeatureCache:
    """A directory of windows."""

    def __init__(self, directory: str, processes: int):
        """Use a directory, which need not exist.

        Args:
          directory: where the files are.
          processes: how many processes may convert questions.
        """
        self._directory = directory
        self._processes = processes

    def prepare(self, file: QuestionFile, reader: Reader) -> "Features":
        """The windows of `file`, converted unless they are there already.

        Raises:
          UserError: a directory that cannot be written; a question of which nothing is left,
            naming the file and the question.
        """
        description = _description(file, reader)
        path = os.path.join(self._directory, _key(description))
        try:
            os.makedirs(self._directory, exist_ok=True)
            if not os.path.exists(path + ".tfrecord"):
                with _locked(path + ".lock"):
                    # Another process may have made it while this one waited.
                    if not os.path.exists(path + ".tfrecord"):
                        self._make(path + ".tfrecord", file, reader, description)
        except (OSError, tf.errors.OpError) as error:
            raise UserError("cannot write to --feature_cache_dir '{}': {}".format(
                self._directory, error)) from None
        return Features(path + ".tfrecord", description)

    def _make(self, path: str, file: QuestionFile, reader: Reader,
              description: Dict[str, Any]) -> None:
        """Write the windows of `file`; only complete files get the name `path`."""
        temporary = path + ".part"
        try:
            with tf.python_io.TFRecordWriter(temporary) as writer, \
                    ProgressBar("features of " + os.path.basename(file.path),
                                len(file.questions)) as bar, \
                    contextlib.closing(
                        convert(file.questions, reader, self._processes)) as parts:
                count = 0
                for number, windows in parts:
                    for window in windows:
                        writer.write(_example(window).SerializeToString(deterministic=True))
                    count += len(windows)
                    bar.advance(number)
                writer.write(_last(description, count).SerializeToString(deterministic=True))
            _sync(temporary)
            os.replace(temporary, path)
        except UserError as error:
            raise UserError("'{}', {}".format(file.path, error)) from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)


class Features:
    """The windows of a file of questions, on disk.

    Attributes:
      path: the file that holds them.
    """

    def __init__(self, path: str, description: Dict[str, Any]):
        self.path = path
        self._description = description

    def load(self, with_places: bool) -> List[Window]:
        """All windows, in order.

        Args:
          with_places: also load `places` and `central`, which training does not need; otherwise
            they are empty.

        Raises:
          UserError: a damaged file.
        """
        windows: List[Window] = []
        try:
            for record in tf.python_io.tf_record_iterator(self.path):
                example = tf.train.Example.FromString(record).features.feature
                if "windows" in example:
                    return self._checked(windows, example)
                windows.append(_window(example, with_places))
        except tf.errors.OpError as error:
            raise self._damaged(str(error)) from None
        raise self._damaged("its end is missing")

    def _checked(self, windows: List[Window], last: Any) -> List[Window]:
        if last["windows"].int64_list.value[0] != len(windows):
            raise self._damaged("it holds {} of {} windows".format(
                len(windows), last["windows"].int64_list.value[0]))
        if json.loads(last["description"].bytes_list.value[0]) != self._description:
            raise self._damaged("it holds windows of other questions")
        return windows

    def _damaged(self, how: str) -> UserError:
        return UserError("'{}' is damaged ({}): delete it, and it will be made again".format(
            self.path, how))


def _description(file: QuestionFile, reader: Reader) -> Dict[str, Any]:
    """All that the windows depend on."""
    code = hashlib.sha256()
    for module in _WRITTEN_BY:
        with open(str(module.__file__), "rb") as source:
            code.update(source.read())
    return dict(reader.settings, format=_FORMAT, code=code.hexdigest(), questions=file.digest,
                with_answers=file.with_answers)


def _key(description: Dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock that goes with the process."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another process that makes the same features ({})".format(path),
                  flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync(path: str) -> None:
    """Return when the content of a file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _example(window: Window) -> Any:
    return tf.train.Example(features=tf.train.Features(feature={
        "question": _integers([window.question]),
        "input_ids": _integers(window.ids),
        "offset": _integers([window.offset]),
        "token_starts": _integers(window.places[:, 0]),
        "token_ends": _integers(window.places[:, 1]),
        "token_is_central": _integers(window.central),
        "start_position": _integers([window.target[0]]),
        "end_position": _integers([window.target[1]])}))


def _last(description: Dict[str, Any], count: int) -> Any:
    text = json.dumps(description, sort_keys=True).encode()
    return tf.train.Example(features=tf.train.Features(feature={
        "windows": _integers([count]),
        "description": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))}))


def _integers(values: Any) -> Any:
    numbers = np.asarray(values, np.int64).tolist()  # newer protobufs refuse booleans
    return tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))


def _window(example: Any, with_places: bool) -> Window:
    def array(name: str) -> Any:
        return np.array(example[name].int64_list.value, np.int32)

    def number(name: str) -> int:
        return example[name].int64_list.value[0]

    places = np.zeros([0, 2], np.int32)
    if with_places:
        places = np.stack([array("token_starts"), array("token_ends")], axis=1)
    return Window(number("question"), array("input_ids"), number("offset"), places,
                  array("token_is_central")[:len(places)].astype(bool),
                  (number("start_position"), number("end_position")))
