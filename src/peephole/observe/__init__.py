"""Observe: a command, a pid or a cgroup in; a capture out."""
