"""Observe: record every system call of a process tree, cheaply, and count what was lost.

`engines.observe` records a command; `capture.open_capture` and `capture.write_capture` read and write captures.
"""
