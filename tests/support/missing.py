# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an environment may lack, and what TensorFlow or EPL say where a test asks for it.

From version 2.16 on TensorFlow has no Estimator, and `tf.layers` only with tf-keras; most
environments of scripts/matrix.sh are without Horovod. A test that needs one of these is skipped
there; its promise has a test that needs none of them, or runs where they are.
"""

import importlib.util
import re

NO_HOROVOD = "needs Horovod, which is not installed here"
NO_LAYERS = "needs tf.layers, which TensorFlow has from 2.16 on with tf-keras only"
NO_ESTIMATOR = "needs tf.estimator, which TensorFlow has no more from 2.16 on"

_SIGNS = (
    (r"No module named 'horovod'", NO_HOROVOD),
    (r"`\w+` is not available with Keras 3", NO_LAYERS),
    (r"module 'tensorflow[\w.]*' has no attribute 'estimator'", NO_ESTIMATOR),
)


def reason(error):
    """Why a test that ended with the text `error` is to be skipped; None: it has failed."""
    for sign, why in _SIGNS:
        if re.search(sign, error):
            return None if why == NO_HOROVOD and importlib.util.find_spec("horovod") else why
    return None
