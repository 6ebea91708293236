"""The cost of Peephole itself, and what it gains on real programs. `python -m bench NAME --json`."""
