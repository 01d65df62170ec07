# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""BERT for questions in SQuAD format."""
