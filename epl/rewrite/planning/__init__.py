# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is decided and foreseen of a graph before it is changed: stages, schedule, time, memory.

    graph --costs, by a clock--> chain ----> automatic stages
                                 stages ---> the schedule that is chosen, layouts compared
          --sizes, lifetimes----------------> the memory that is predicted
"""
