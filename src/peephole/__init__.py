"""Peephole: a peephole optimizer whose instructions are system calls."""

__version__ = "0.1.0"
