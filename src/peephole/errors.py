"""Errors that a caller can act on.

Every message says what happened, to what, and what to do. Only `cli/` prints them.
"""


class PeepholeError(Exception):
    """Anything that Peephole reports as one clear line; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(PeepholeError):
    """The call's words are wrong (exit code 2)."""

    exit_code = 2


class CaptureError(PeepholeError):
    """A capture can't be written or read: foreign, corrupt, cut off, or of a newer schema."""


class EngineError(PeepholeError):
    """An engine (recorder or interposer) can't be used here; the message says why."""


class RuleError(PeepholeError):
    """A rule's text is outside the language, is not proved, or its certificate does not fit."""


class PlanError(PeepholeError):
    """A plan can't be read, is not the caller's own, or names what does not exist."""


class RunError(PeepholeError):
    """A measured command failed, timed out, or could not be started."""


class MissingToolError(PeepholeError):
    """A program or package that is needed is not installed; the message names it."""
