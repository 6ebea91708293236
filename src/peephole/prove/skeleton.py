"""The skeleton of a rule for a sequence of calls: a folder that a person finishes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peephole.errors import RuleError
from peephole.prove.calls import call_table

_FILE_STATE = """    class File(PerOpenFile):
        known: num  # what is remembered of the description

    def pending(k, f, fd: fd) -> bool:
        # Whether there is something to make good. A rule that only remembers has nothing.
        return False

    def settle(k, f, fd: fd) -> num:
        f.known = 0
        return 0
"""
_PROCESS_STATE = """    class Process(PerProcess):
        known: num  # what is remembered of the process
"""
_README = """# {name}: unfinished

Made from a sequence of calls that was frequent in a capture of {program} ({times:,} times):

    {calls}

1. rule.py: say what the sequence becomes (docs/howto-add-a-rule.md); as it is, it forwards every call.
2. refuted/: at least one wrong neighbour, which the prover must refute.
3. demo.c: the sequence as programs make it.
4. `peephole prove {name}`; `relaxes` must equal what the solver finds given up.
5. Take this file away.
"""


def rule_name(calls: Sequence[str]) -> str:
    """A name for the rule: the sequence's calls, each once."""
    return "_then_".join(dict.fromkeys(calls))


def write_skeleton(folder: Path, calls: Sequence[str], program: str, times: int) -> Path:
    """Write `folder`/NAME with rule.py, refuted/, demo.c and a README; the folder's path.

    Raises RuleError when it is there already.
    """
    made = folder / rule_name(calls)
    try:
        (made / "refuted").mkdir(parents=True)
    except FileExistsError:
        raise RuleError(f"{made}: is there already; name another folder, or take it away") from None
    (made / "rule.py").write_text(_rule(calls), encoding="utf-8")
    (made / "demo.c").write_text(_demo(calls), encoding="utf-8")
    text = _README.format(name=made.name, program=ascii(program)[1:-1], times=times, calls=" -> ".join(calls))
    (made / "README.md").write_text(text, encoding="utf-8")
    return made


def _rule(calls: Sequence[str]) -> str:
    words = list(dict.fromkeys(calls))
    rows = call_table()
    on_files = [word for word in words if word in rows and rows[word].kind in ("FD", "DUP", "CLOSE")]
    names = "".join(part.capitalize() for part in rule_name(calls).split("_"))
    state = "PerOpenFile" if on_files else "PerProcess"
    handled = on_files or words
    handlers = "\n".join(_handler(word, bool(on_files)) for word in handled)
    what = ", ".join(words)
    return (
        f'"""{what} in a row: say in a sentence what they become."""\n\n'
        f"from peephole.prove.vocabulary import {state}, Rule, {'fd, ' if on_files else ''}num\n\n\n"
        f'class {names}(Rule):\n    """{what} in a row: say in a sentence what they become."""\n\n'
        f"    relaxes = set()\n\n{_FILE_STATE if on_files else _PROCESS_STATE}\n{handlers}"
    )


def _handler(word: str, on_file: bool) -> str:
    parameters = "k, f, fd: fd" if on_file else "k, p"
    return f"    def {word}({parameters}) -> num:\n        return k.forward()\n"


def _demo(calls: Sequence[str]) -> str:
    steps = "".join(f"\t\t/* {word} */\n" for word in calls)
    return (
        "/* The sequence as programs have it; it runs with and without the rule, and must leave the same behind. */\n"
        f"int main(void)\n{{\n\tint i;\n\n\tfor (i = 0; i < 1000; i++) {{\n{steps}\t}}\n\treturn 0;\n}}\n"
    )
