"""ecasound, JACK and Ardour without a sound card. `python -m bench audio`.

    ecasound_clip  a 3 s clip rendered      ecasound_long  120 s of it
    ecasound_mix   four tracks mixed down   jack           jackd on its dummy device, with CPU hogs beside it
    ardour         a session in which eight stereo tracks record noise from the dummy device at ten times the speed

The rendered files are compared byte by byte. Of JACK, xruns and the lateness of its wake-ups are counted by a client.
"""

from __future__ import annotations

import array
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import commands, servers
from bench.commands import Commands, Job
from bench.servers import NoBench, Options
from peephole.improve.scheduling import may_schedule

LOADS = ("ecasound_clip", "ecasound_long", "ecasound_mix", "jack", "ardour")
RATE = 48000
RULES = ("short_poll",)
ARDOUR_RULES = ("read_window", "coalesce_writes", "truncate_in_place", "shadow_descriptor")
ARDOUR_TRACKS, ARDOUR_S = 8, 3
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # what `peephole explain heap_growth` advises
JACK_WARM_S = 2  # not counted: the clients connect, and their periods are watched
JACK_S = 6
JACK_FRAMES = 64
HOGS = 3
RECORD = Path(__file__).with_name("record.lua")
HOG = "while True: pass"


def tone(path: Path, seconds: float, pitch: float) -> None:
    """A stereo WAV file of a tone that swells."""
    samples = array.array("h")
    one = [round(9000 * math.sin(2 * math.pi * pitch * i / RATE)) for i in range(RATE)]
    for second in range(math.ceil(seconds)):
        swell = 1 + second % 3
        for i in range(min(RATE, round((seconds - second) * RATE))):
            samples.extend((one[i] // swell, one[-i] // swell))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())


def jobs(folder: Path) -> dict[str, Job]:
    """The renders."""
    out = folder / "out"
    again = servers.shlex.join(["sh", "-c", 'rm -rf "$0" && mkdir "$0"', str(out)])
    same = ("exit", f"files:{out}")
    base = ("ecasound", "-q", "-b:1024", "-f:s16_le,2,48000")
    tracks = [f"-a:{n} -i:{folder}/track{n}.wav".split(" ", 1) for n in range(1, 5)]
    mix = [word for track in tracks for word in track]

    def job(name: str, *words: str) -> Job:
        return Job(name, (*base, *words), RULES, same, again, primary="wall")

    return {
        "ecasound_clip": job("ecasound_clip", f"-i:{folder}/clip.wav", f"-o:{out}/x.wav"),
        "ecasound_long": job("ecasound_long", f"-i:{folder}/long.wav", f"-o:{out}/x.wav"),
        "ecasound_mix": job("ecasound_mix", *mix, "-a:all", f"-o:{out}/x.wav"),
    }


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """Processes that want all of the CPU."""
    started = [subprocess.Popen([sys.executable, "-I", "-S", "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def jack_session(client: Path, improved: bool) -> dict[str, float]:
    """jackd and a client for some seconds beside hogs; the client's xruns and lateness of wake-ups (us)."""
    name = f"peephole-bench-{servers.os.getpid()}"
    script = (
        f'jackd -n {name} -r -d dummy -r {RATE} -p {JACK_FRAMES} >&2 & "$0" "$@"; code=$?; kill $!; wait; exit $code'
    )
    words = ["sh", "-c", script, str(client), name, str(JACK_WARM_S), str(JACK_S)]
    if improved:
        own = [sys.executable, "-m", "peephole", "improve", "--rules", "realtime_audio", "--allow", "timing", "--"]
        words = [*own, *words]
    env = servers.os.environ | {"JACK_NO_AUDIO_RESERVATION": "1"}
    with hogs(HOGS):
        done = subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=JACK_S + 40
        )
    if done.returncode:
        raise NoBench(f"jack: {' | '.join(done.stderr.strip().splitlines()[-2:])}")
    return dict(json.loads(done.stdout))


def jack(bench: Commands, folder: Path) -> None:
    """Plain sessions, and improved ones where the scheduling rule exists."""
    source = Path(__file__).with_name("wakeups.c")
    program = folder / "wakeups"
    compiler = servers.os.environ.get("CC", "cc")
    commands.run([compiler, "-O2", "-o", program, source, "-ljack"])
    sides = [False, True] if may_schedule() else [False]
    bench.conditions["jack.rules"] = "realtime_audio (scheduling, not a rewrite)"
    if len(sides) == 1:
        bench.conditions["jack.rules"] = "none: real-time priority needs CAP_SYS_NICE; plain figures only"
    found: dict[bool, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(min(bench.asked.pairs, 3)):
        for side in sides:
            found[side].append(jack_session(program, side))
    for side, sessions in found.items():
        for name in ("xruns", "late_p50_us", "late_p99_us"):
            as_ = "after" if side else "before"
            bench.figures[f"jack.{name}_{as_}"] = median(one[name] for one in sessions)


def ardour(bench: Commands, folder: Path) -> None:
    """Rules on its data path; and what the advice about its memory's growth gains, without Peephole."""
    servers.installed("ardour7-lua", packages="ardour")
    session = folder / "session"
    words = ("ardour7-lua", str(RECORD), str(session), str(ARDOUR_TRACKS), str(ARDOUR_S))
    again = servers.shlex.join(["rm", "-rf", str(session)])
    bench.measure(Job("ardour", words, ARDOUR_RULES, same=("none",), fresh=again))  # it records noise

    def cpu_s(more: dict[str, str]) -> float:
        shutil.rmtree(session, ignore_errors=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Its exit code is not looked at: now and then it crashes on its way out, when all is recorded.
        null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(words, env=servers.os.environ | more, timeout=120, check=False, **null)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [(cpu_s({}), cpu_s(ONE_ARENA)) for _ in range(bench.asked.pairs)]
    ratios = sorted(after / before for before, after in pairs)
    bench.figures |= {
        "ardour_one_arena.cpu_ratio": median(ratios),
        "ardour_one_arena.cpu_low": ratios[0],
        "ardour_one_arena.cpu_high": ratios[-1],
    }


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `LOAD.{cpu,wall,syscalls,bytes}_ratio` (after/before), `jack.{xruns,late_p99_us}_{before,after}`, and
    `ardour_one_arena.cpu_ratio`: malloc told to use one arena/plain, the median of pairs."""
    asked = asked or Options(LOADS)
    servers.installed("ecasound", "jackd", "/usr/include/jack/jack.h", packages="ecasound jackd2 libjack-jackd2-dev")
    with tempfile.TemporaryDirectory(prefix="peephole-bench-") as name:
        folder = Path(name)
        (folder / "out").mkdir()
        tone(folder / "clip.wav", 3, 440)
        if "ecasound_long" in asked.loads:
            tone(folder / "long.wav", 120, 330)
        for n in range(1, 5):
            tone(folder / f"track{n}.wav", 30, 110 * n)
        bench = Commands(asked)
        for load in asked.loads:
            if load == "jack":
                jack(bench, folder)
            elif load == "ardour":
                ardour(bench, folder)
            else:
                bench.measure(jobs(folder)[load])
        return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, LOADS)
