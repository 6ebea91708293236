"""House rules that a program can check."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "peephole"
STAGES = ["observe", "diagnose", "prove", "improve", "evaluate"]


def tracked(*patterns: str) -> list[Path]:
    git = shutil.which("git")
    out = subprocess.run([git, "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True) if git else None
    if out is None or out.returncode:
        pytest.skip("not a git checkout, or git is not installed")
    return [ROOT / line for line in out.stdout.splitlines() if (ROOT / line).exists()]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_stage_imports_a_later_one() -> None:
    wrong = []
    for i, stage in enumerate(STAGES):
        later = tuple(f"peephole.{s}" for s in STAGES[i + 1 :])
        for path in (SOURCE / stage).rglob("*.py"):
            wrong += [f"{path.relative_to(ROOT)} imports {m}" for m in imports_of(path) if m.startswith(later)]
    assert not wrong


def test_only_the_command_line_prints() -> None:
    # emit and ship have command lines of their own for the build
    wrong = []
    for path in SOURCE.rglob("*.py"):
        if path.parts[len(SOURCE.parts)] in ("cli", "rules") or path.name in ("__main__.py", "emit.py", "ship.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong


def test_no_shell_and_no_bare_except() -> None:
    wrong = []
    for path in tracked("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: bare except")
            if isinstance(node, ast.keyword) and node.arg == "shell" and getattr(node.value, "value", None) is True:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: shell=True")
    assert not wrong


def test_the_cli_starts_without_heavy_packages() -> None:
    code = "import sys, peephole.cli; print(*sorted(m.split('.')[0] for m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"ibis", "duckdb", "pyarrow", "scipy", "numpy", "pandas", "z3", "rich"}
    assert not heavy & set(out)


@pytest.mark.parametrize("verb", ["rules", "explain", "improve"])
def test_help_of_a_light_verb_imports_no_heavy_package(verb: str) -> None:
    code = (
        "import sys\nsys.argv = ['peephole', sys.argv[1], '--help']\nimport peephole.cli\n"
        "try:\n    peephole.cli.main()\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted(set(m.split('.')[0] for m in sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True, check=True).stdout
    modules = set(out.split("MODULES", 1)[1].split())
    assert not {"ibis", "duckdb", "pyarrow", "scipy", "pandas", "z3"} & modules


def test_no_file_has_outgrown_its_noun() -> None:
    big = []
    for path in tracked("*.py", "*.c", "*.h", "*.S"):
        lines = path.read_text(errors="replace").count("\n")
        if lines > 800:
            big.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not big


def test_no_path_of_a_developers_machine_is_in_the_project() -> None:
    here = Path(__file__).resolve()
    wrong = []
    for path in tracked():
        if path == here or path.is_dir():
            continue
        text = path.read_bytes()
        for m in re.finditer(rb"/work/|/root/(?!\.)|/home/[a-z]+/", text):
            wrong.append(f"{path.relative_to(ROOT)}: {text[m.start() : m.start() + 30]!r}")
    assert not wrong


def test_the_runtime_calls_no_libc() -> None:
    from peephole import native
    from peephole.errors import MissingToolError

    try:
        library = native.path("libpeephole.so")
    except MissingToolError:
        pytest.fail("libpeephole.so is not built")
    out = subprocess.run(
        ["nm", "-D", "--undefined-only", os.fspath(library)], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == ""


def test_every_verb_has_help_and_a_page() -> None:
    from peephole.cli import VERBS, cli

    manual = (ROOT / "docs" / "cli.md").read_text()
    for verb in VERBS:
        command = cli.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None and (command.help or command.short_help), verb
        assert f"peephole {verb}" in manual, verb
