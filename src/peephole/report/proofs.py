"""The proofs of the rules that were applied: what each keeps and gives up, and how what is lost can show."""

from __future__ import annotations

from typing import Any

from peephole.report.markup import table, text


def proof_tables(proofs: list[dict[str, Any]]) -> str:
    """One table a rule: guarantees by profile; below it a story for each that is lost."""
    return "".join(_rule(one) for one in proofs)


def _rule(one: dict[str, Any]) -> str:
    profiles = list(one["guarantees"])
    names = list(dict.fromkeys(name for by_name in one["guarantees"].values() for name in by_name))
    rows = [
        (name, *(_word(one["guarantees"][profile].get(name)) for profile in profiles))
        for name in sorted(names, key=lambda n: (_kept_everywhere(one, n), names.index(n)))
    ]
    lost = sum(not _kept_everywhere(one, name) for name in names)
    said = f"{one['rule']}: {len(names) - lost} guarantees proved to be kept, {lost} given up."
    how = f"{one['queries']:,} questions to the solver, {one['seconds']:.1f} s; rule {one['digest'][:12]}."
    body = f"<h3>{text(one['rule'])}</h3>\n"
    body += table(f"{said} {how}", ("Guarantee", *(f"on {p}" for p in profiles)), rows)
    return body + _stories(one)


def _kept_everywhere(one: dict[str, Any], name: str) -> bool:
    return all(by_name.get(name, {}).get("kept", True) for by_name in one["guarantees"].values())


def _word(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    if found["kept"]:
        return "kept"
    return f"given up, at most {found['bound']}" if found["bound"] else "given up"


def _stories(one: dict[str, Any]) -> str:
    """How each lost guarantee can show, told once where profiles agree; folded, and open to the keyboard."""
    told: dict[tuple[str, ...], list[str]] = {}
    for by_name in one["guarantees"].values():
        for name, found in by_name.items():
            if not found["kept"] and found.get("story"):
                names = told.setdefault(tuple(found["story"]), [])
                if name not in names:
                    names.append(name)
    body = ""
    for story, names in told.items():
        lines = "\n".join(text(line) for line in story)
        title = f"How the loss of {', '.join(names)} can show"
        body += f"<details><summary>{text(title)}</summary>\n<pre>{lines}</pre></details>\n"
    return body
