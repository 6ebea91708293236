"""What holds for every test."""

import signal

# A shell without job control starts background jobs with these ignored, and programs under test would inherit that:
# ctrl-C is among the things tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
