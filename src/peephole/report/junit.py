"""Budgets and findings as JUnit XML, which CI systems show as tests: a broken limit is a failure."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from peephole.report.words import amount, plain
from peephole.trace import Finding


def junit(found: Iterable[Finding], limits: Iterable[tuple[str, str, bool]] = ()) -> str:
    """The text; `limits` are the budget's: (name, sentence, whether it is broken)."""
    root = ET.Element("testsuites")
    limits, found = list(limits), list(found)
    broken = sum(over for _, _, over in limits)
    suite = ET.SubElement(root, "testsuite", name="peephole budget", tests=str(len(limits)), failures=str(broken))
    for name, sentence, over in limits:
        case = ET.SubElement(suite, "testcase", classname="budget", name=plain(name))
        if over:
            ET.SubElement(case, "failure", message=plain(sentence)).text = plain(sentence)
        else:
            ET.SubElement(case, "system-out").text = plain(sentence)
    suite = ET.SubElement(root, "testsuite", name="peephole findings", tests=str(len(found)), failures="0")
    for finding in found:
        name = f"{finding.program}: {finding.object}"
        case = ET.SubElement(suite, "testcase", classname=finding.slug, name=plain(name))
        worth = f", {amount(finding.saving.ns / 1e9, 's')} of CPU" if finding.saving else ""
        ET.SubElement(case, "system-out").text = plain(f"{finding.calls:,} calls{worth}: {finding.advice}")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
