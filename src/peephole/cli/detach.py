"""`peephole detach`: take the rules out of a process that runs."""

from __future__ import annotations

import click

from peephole.cli.attach import say_change, threads


@click.command()
@click.argument("pid", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(pid: int, as_json: bool) -> None:
    """Take the rules out of process PID: settle what is pending, give every byte of its code back. Children that it
    has forked keep theirs; detach each."""
    from peephole.errors import EngineError
    from peephole.improve.live import detach
    from peephole.improve.scheduling import restore

    restored = restore(pid)
    try:
        change = detach(pid)
    except EngineError:
        if not restored:
            raise
        # It was attached for its scheduling only: nothing of ours is in it.
        said = f"scheduling of {pid}: {restored} threads as they were"
        say_change({"what": "detach", "pid": pid, "scheduling": restored}, as_json, said)
        return
    say_change(change, as_json, f"detached from {pid}: {threads(change)}")
