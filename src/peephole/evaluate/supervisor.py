"""Runs one command and says what it cost: a program of its own, so that nothing of Peephole is in the figures.

Started by `run.py` as `python -I -S supervisor.py`; reads the job as one line of JSON and prints one JSON object. It
is a child subreaper, so that orphans and daemons of the command are waited for and counted; where a cgroup
(version 2) can be made, the CPU comes from its cpu.stat, which also counts children that nobody waited for. When its
standard input closes, whoever started it is gone or was interrupted: everything is killed.

Only the standard library, and nothing heavy of it: its start is paid before every run.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import time

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
POLL_S = 0.5  # how often orphans are reaped while the command runs
TO_DEFAULT = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]

libc = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):
    """The control pipe closed: end everything."""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Cgroup:
    """A cgroup of version 2 that holds this supervisor and whatever it starts."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.home = os.path.dirname(folder)  # noqa: PTH120 - pathlib costs 10 ms of start-up
        os.mkdir(folder)  # noqa: PTH102
        try:
            _write(folder + "/cgroup.procs", "0")
            self._baseline_ns = self._usage_ns()
        except OSError:
            self.close()
            raise

    def _usage_ns(self) -> int:
        with open(self.folder + "/cpu.stat") as f:  # noqa: PTH123
            usec = next(int(line.split()[1]) for line in f if line.startswith("usage_usec"))
        # The supervisor's own time is in the group's: take it out.
        return usec * 1000 - time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)

    def cpu_ns(self) -> int:
        return self._usage_ns() - self._baseline_ns

    def members(self) -> list[int]:
        with open(self.folder + "/cgroup.procs") as f:  # noqa: PTH123
            return [pid for pid in map(int, f) if pid != os.getpid()]

    def close(self) -> None:
        # Leave through the parent: a group with members can't be removed.
        with contextlib.suppress(OSError):
            _write(self.home + "/cgroup.procs", "0")
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)  # noqa: PTH106


def own_cgroup(name: str) -> tuple[Cgroup | None, str | None]:
    """A new cgroup below the one we are in, or why there is none."""
    try:
        with open("/proc/self/mountinfo") as f:  # noqa: PTH123
            mounts = [line.split() for line in f]
        point = next((m[4] for m in mounts if m[m.index("-") + 1] == "cgroup2"), None)
        with open("/proc/self/cgroup") as f:  # noqa: PTH123
            own = next((line.rstrip("\n")[3:] for line in f if line.startswith("0::")), None)
        if point is None or own is None:
            return None, "no cgroup of version 2 here"
        return Cgroup(point + own.rstrip("/") + "/" + name), None
    except OSError as e:
        return None, f"{e.filename or 'cgroup'}: {e.strerror}"


def children_of(pid: int | str) -> list[int]:
    """Direct children of a process; of "self", the command's orphans are among them."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{tid}/children") as f:  # noqa: PTH123
                found += map(int, f.read().split())
    return found


def descendants(pid: int | str = "self") -> list[int]:
    """All processes below a process, parents first."""
    found: list[int] = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


def open_flags(fd: int) -> int:
    """How the file of standard stream `fd` is opened."""
    return os.O_WRONLY | os.O_CREAT | os.O_TRUNC if fd else os.O_RDONLY


def start_as(user: list[int], argv: list[str], env: dict[str, str], streams: list[str]) -> int:
    """As posix_spawnp, with another user and group; the streams are opened before. Raises OSError."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for fd, path in enumerate(streams):
                opened = os.open(path, open_flags(fd), 0o600)
                os.dup2(opened, fd)
                os.close(opened)
            os.setsid()
            for signum in TO_DEFAULT:
                signal.signal(signum, signal.SIG_DFL)
            os.setgroups([])
            os.setresgid(user[1], user[1], user[1])
            os.setresuid(user[0], user[0], user[0])
            os.execvpe(argv[0], argv, env)
        except OSError as e:
            code = e.errno or 1
        finally:
            os.write(tells, bytes([code & 255]))
            os._exit(127)
    os.close(tells)
    failed = os.read(told, 1)
    os.close(told)
    if failed:
        os.waitpid(pid, 0)
        raise OSError(failed[0], os.strerror(failed[0]), argv[0])
    return pid


class Tree:
    """The processes of one run: started here, reaped here."""

    def __init__(self, cgroup: Cgroup | None) -> None:
        self.cgroup = cgroup
        self.status: dict[int, int | None] = {}  # pid -> wait status, of those started here
        self.aside: set[int] = set()  # drivers and probes: not the command's
        self.aside_cpu_ns = self.aside_switches = self.aside_faults = self.aside_oublock = 0

    def start(
        self,
        argv: list[str],
        env: dict[str, str],
        streams: list[str],
        aside: bool = False,
        user: list[int] | None = None,
    ) -> int:
        """Start `argv` with these files as standard input, output and error, in a session of its own.

        The terminal's ctrl-C then goes to Peephole alone, which ends the tree in order.
        """
        if user:
            pid = start_as(user, argv, env, streams)
        else:
            actions = [(os.POSIX_SPAWN_OPEN, fd, path, open_flags(fd), 0o600) for fd, path in enumerate(streams)]
            pid = os.posix_spawnp(
                argv[0], argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=TO_DEFAULT
            )
        self.status[pid] = None
        if aside:
            self.aside.add(pid)
        return pid

    def reap(self) -> bool:
        """Wait for all that has ended; True while something is left."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self.status:
                self.status[pid] = status
            if pid in self.aside:
                self.aside_cpu_ns += round((used.ru_utime + used.ru_stime) * 1e9)
                self.aside_switches += used.ru_nvcsw + used.ru_nivcsw
                self.aside_faults += used.ru_minflt + used.ru_majflt
                self.aside_oublock += used.ru_oublock

    def kill(self) -> None:
        """End everything that is left, and wait for it."""
        while self.reap():
            for pid in self.cgroup.members() if self.cgroup else descendants():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def wait(self, pid: int, deadline_s: float | None) -> bool:
        """Wait until `pid` has ended; False when the deadline came first. Raises Stopped."""
        fd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.register(0, select.POLLIN | select.POLLHUP)
            while self.status[pid] is None:
                left_s = POLL_S if deadline_s is None else min(POLL_S, deadline_s - time.monotonic())
                if left_s <= 0:
                    return False
                if any(ready == 0 for ready, _ in poll.poll(left_s * 1000)):
                    raise Stopped
                self.reap()
            return True
        finally:
            os.close(fd)

    def wait_all(self, deadline_s: float) -> bool:
        """Wait until nothing is left; False when the deadline came first. Raises Stopped."""
        while self.reap():
            if time.monotonic() > deadline_s:
                return False
            _pause(0.005)
        return True


def _pause(seconds: float) -> None:
    if select.select([0], [], [], seconds)[0]:
        raise Stopped


def is_ready(tree: Tree, kind: str, what: str | list[str], env: dict[str, str]) -> bool:
    """Whether the server answers: tcp PORT, unix PATH, file PATH, exec ARGV."""
    if kind == "file":
        return os.path.exists(str(what))  # noqa: PTH110
    if kind == "exec":
        probe = tree.start(list(what), env, [os.devnull] * 3, aside=True)
        return tree.wait(probe, time.monotonic() + 5) and tree.status[probe] == 0
    if kind == "unix":
        return connects(socket.AF_UNIX, str(what))
    port = int(str(what))
    return connects(socket.AF_INET, ("127.0.0.1", port)) or connects(socket.AF_INET6, ("::1", port))


def connects(family: int, address: object) -> bool:
    """Whether something listens there."""
    try:
        with socket.socket(family) as s:
            s.settimeout(1)
            s.connect(address)  # type: ignore[arg-type]
            return True
    except OSError:
        return False


def wait_ready(tree: Tree, pid: int, job: dict) -> str | None:  # type: ignore[type-arg]
    """Poll until the server is ready; an explanation when it does not become so. Raises Stopped."""
    if job["ready"] is None:
        return None
    deadline_s = time.monotonic() + job["ready_timeout_s"]
    kind, what = job["ready"]
    while not is_ready(tree, kind, what, job["drive_env"]):
        tree.reap()
        if tree.status[pid] is not None:
            return "the server ended before it was ready"
        if time.monotonic() > deadline_s:
            return f"the server was not ready after {job['ready_timeout_s']:g} s"
        _pause(0.01)
    return None


def machine_cpu_ns() -> int:
    """CPU time that all CPUs spent outside idle, in the kernel's ticks (usually 10 ms each)."""
    with open("/proc/stat") as f:  # noqa: PTH123
        ticks = list(map(int, f.readline().split()[1:8]))
    user, nice, system, _idle, _iowait, irq, softirq = ticks
    return (user + nice + system + irq + softirq) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def written_bytes(devices: list[str]) -> int:
    """Bytes written to these block devices or, when none is given, to all (pgpgout counts KiB)."""
    if not devices:
        with open("/proc/vmstat") as f:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("pgpgout"))
    total = 0
    for device in devices:
        with open(f"/sys/dev/block/{device}/stat") as f:  # noqa: PTH123
            total += int(f.read().split()[6]) * 512  # sectors are of 512 bytes there, whatever the disk
    return total


def syncfs(folders: list[str]) -> int:
    """Flush these file systems; nanoseconds taken."""
    begin_ns = time.monotonic_ns()
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while libc.syncfs(fd) != 0 and ctypes.get_errno() == errno.EINTR:
                pass
        finally:
            os.close(fd)
    return time.monotonic_ns() - begin_ns


def work(job: dict, tree: Tree, out: dict) -> None:  # type: ignore[type-arg]
    """Start the command and see it to its end; with a driver, start that beside it and stop the command after it."""
    timeout_s = job["timeout_s"]
    begin_ns = time.monotonic_ns()
    pid = tree.start(job["argv"], job["env"], job["streams"], user=job["user"])
    out["started"] = True
    if job["beside"]:
        tree.start([*job["beside"], str(pid)], {}, job["beside_streams"], user=job["user"])
    if job["drive"]:
        out["trouble"] = wait_ready(tree, pid, job)
        if out["trouble"] is None:
            begin_ns = time.monotonic_ns()
            waited = tree.start(job["drive"], job["drive_env"], job["drive_streams"], aside=True)
    else:
        waited = pid
    if out["trouble"] is None:
        deadline_s = None if timeout_s is None else begin_ns / 1e9 + timeout_s
        out["timed_out"] = not tree.wait(waited, deadline_s)
        out["wall_ns"] = time.monotonic_ns() - begin_ns
    if job["drive"]:
        if out["trouble"] is None and tree.status[waited] is not None:
            out["drive_exit"] = os.waitstatus_to_exitcode(tree.status[waited] or 0)
        out["ended_early"] = tree.status[pid] is not None
        if tree.status[pid] is None:
            os.kill(pid, signal.SIGTERM)
            out["killed"] = not tree.wait(pid, time.monotonic() + job["grace_s"])
    failed = out["timed_out"] or out["killed"] or out["trouble"] is not None
    if not failed and not tree.wait_all(time.monotonic() + job["grace_s"]):
        out["left_behind"] = len(descendants())
    tree.kill()
    out["exit"] = os.waitstatus_to_exitcode(tree.status[pid] or 0)


def measure(job: dict, tree: Tree, out: dict) -> None:  # type: ignore[type-arg]
    """One run between a flush that clears away earlier dirt and one that makes this run pay for its own."""
    os.chdir(job["cwd"])
    syncfs(job["file_systems"])
    system_ns, written = machine_cpu_ns(), written_bytes(job["devices"])
    work(job, tree, out)
    if tree.cgroup:
        out["cpu_ns"] = tree.cgroup.cpu_ns() - tree.aside_cpu_ns
    out["flush_ns"] = syncfs(job["file_systems"])
    out["system_cpu_ns"] = machine_cpu_ns() - system_ns
    out["written"] = written_bytes(job["devices"]) - written


def read_job() -> dict:  # type: ignore[type-arg]
    """The job: one line on standard input, which then stays open as the control pipe."""
    text = b""
    while not text.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            raise SystemExit(1)
        text += part
    job: dict = json.loads(text)  # type: ignore[type-arg]
    return job


def main() -> None:
    job = read_job()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # whoever started us decides, and closes our input
    cgroup, why = own_cgroup(f"peephole-{os.getpid()}")
    tree = Tree(cgroup)
    out = dict.fromkeys(("trouble", "cpu_ns", "drive_exit", "exit", "wall_ns", "errno"))
    out |= {"timed_out": False, "killed": False, "ended_early": False, "left_behind": 0, "started": False}
    out["no_cgroup"] = why
    try:
        try:
            measure(job, tree, out)
        finally:
            tree.kill()
    except Stopped:
        out["trouble"] = "interrupted"
    except OSError as e:
        out["trouble"] = f"{e.filename or job['argv'][0]}: {e.strerror}"
        out["errno"] = e.errno
    finally:
        if cgroup:
            cgroup.close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if out["cpu_ns"] is None:
        out["cpu_ns"] = round((used.ru_utime + used.ru_stime) * 1e9) - tree.aside_cpu_ns
    out["context_switches"] = used.ru_nvcsw + used.ru_nivcsw - tree.aside_switches
    out["page_faults"] = used.ru_minflt + used.ru_majflt - tree.aside_faults
    out["dirtied"] = (used.ru_oublock - tree.aside_oublock) * 512
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(out).encode() + b"\n")


if __name__ == "__main__":
    main()
