"""Findings as SARIF 2.1.0, which code hosts show beside a change: a broken budget is an error, a finding a note."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from peephole import __version__
from peephole.report.words import amount, plain, rules_of
from peephole.trace import Finding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
BUDGET = "budget"


def sarif(
    found: Iterable[Finding], titles: Mapping[str, str], broken: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """The log; `titles` are the detectors' by slug, `broken` the budget's broken limits: (program, sentence)."""
    results = [_finding(finding) for finding in found]
    results += [_result(BUDGET, "error", sentence, program) for program, sentence in broken]
    used = list(dict.fromkeys(result["ruleId"] for result in results))
    rules = [
        {
            "id": slug,
            "shortDescription": {"text": titles.get(slug, "More calls for a unit of work than the budget allows.")},
        }
        for slug in used
    ]
    driver = {"name": "peephole", "version": __version__, "rules": rules}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _finding(finding: Finding) -> dict[str, Any]:
    saves = f"; removing them saves about {amount(finding.saving.ns / 1e9, 's')} of CPU" if finding.saving else ""
    how = f"rule {rules_of(finding.rule, finding.needs)}" if finding.rule else finding.advice
    text = f"{finding.calls:,} calls of {finding.program} on {finding.object}{saves}: {how}"
    return _result(finding.slug, "note", text, finding.program)


def _result(rule: str, level: str, text: str, program: str) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": plain(text)},
        "locations": [{"logicalLocations": [{"name": plain(program), "kind": "module"}]}],
    }
