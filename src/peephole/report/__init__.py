"""Report: results and captures as files that people read. One file an output."""
