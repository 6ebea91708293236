"""Diagnose: captures in; findings out, each with what removing the waste would save on this machine."""
