"""Evaluate: a plan and a workload in; a verdict out, from paired runs."""
