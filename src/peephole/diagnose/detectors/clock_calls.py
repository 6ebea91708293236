"""The time is asked of the kernel, where the vDSO could have told it.

Why it costs
    Without entering the kernel the same answer takes a seventh of the time. A program gets it from the kernel when its
    library does not use the vDSO (static and old ones), or when the machine's clock can't be read from user space.

Rewritten by
    No rule: the C library has the cure.

Gives up
    Nothing.

How it is found
    gettimeofday, time, getcpu, or clock_gettime of a clock that the vDSO knows, as a system call.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables

SLUG = "clock_calls"
CALLS = ("clock_gettime", "gettimeofday", "time", "getcpu")
KIND = "crossing"
RULE = None
LAYER = ("C library", "machine's clock")
ADVICE = (
    "look at /sys/devices/system/clocksource/clocksource0/current_clocksource (tsc or kvm-clock), and link dynamically"
)
BEFORE = {"clock_gettime": "calls"}
AFTER = {"clock_vdso": "calls"}

#: CLOCK_REALTIME, _MONOTONIC, _MONOTONIC_RAW, the coarse two, _BOOTTIME, _TAI
VDSO_CLOCKS = (0, 1, 4, 5, 6, 7, 11)

FIRES = {
    "monotonic": "clock_gettime(CLOCK_MONOTONIC, {tv_sec=9, tv_nsec=1}) = 0\n" * 3,
    "time of day": "gettimeofday({tv_sec=9, tv_usec=1}, NULL) = 0\n" * 3,
}
SILENT = {"CPU time": "clock_gettime(CLOCK_THREAD_CPUTIME_ID, {tv_sec=0, tv_nsec=1}) = 0\n" * 3}


def find(t: Tables) -> Any:
    """One row a question."""
    from ibis import _

    asked = t.calls.filter(_.name.isin(CALLS), _.ret >= 0)
    asked = asked.filter((_.name != "clock_gettime") | _.a0.isin(VDSO_CLOCKS))
    return instances(asked, _.name)
