"""A rule of the user's own: its folder, and the private library that has it beside the rules that come with Peephole.

The rule's C is made from the text that was proved, and linked with the runtime's objects into a library in
XDG_CACHE_HOME/peephole/libraries, for its owner only, named by a digest of all that went into it. Like a plan, a rule's
folder, and every folder above it, must be such that nobody but the caller and root could have written there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from peephole import native
from peephole.errors import EngineError, MissingToolError, RuleError
from peephole.improve.private import check_private

COMPILE_S = 300
NAME_MAX = 47  # what the control page has room for


def folder_of(word: str) -> Path | None:
    """The folder that a word of a list of rules names: one with a slash in it; None for a name.

    Raises RuleError when it is no rule's folder or has the name of a rule that comes with Peephole.
    """
    if "/" not in word:
        return None
    from peephole.prove.language import rule_names

    path = Path(word).expanduser()
    folder = Path(os.path.abspath(path.parent if path.name == "rule.py" else path))  # noqa: PTH100 - links are checked
    if not (folder / "rule.py").is_file():
        raise RuleError(f"{word}: no rule.py there; name a rule's folder, or a rule that `peephole rules` lists")
    if folder.name in rule_names():
        raise RuleError(f"{word}: a rule of that name comes with Peephole; give the folder another name")
    if len(folder.name) > NAME_MAX:
        raise RuleError(f"{word}: a rule's name has at most {NAME_MAX} letters; give the folder another name")
    check_private(folder / "rule.py", "the rule")
    return folder


def library_with(sources: Mapping[str, str]) -> Path:
    """The runtime's library with the rules whose folders `sources` gives by name; made when it is not there.

    Raises RuleError when a rule is outside the language, MissingToolError without gcc, EngineError when it can't be
    made or kept.
    """
    if not sources:
        return native.path("libpeephole.so").resolve()
    from peephole.prove.emit import emit_rule, emit_table
    from peephole.prove.language import load_rule, rule_names

    own = [load_rule(folder) for _, folder in sorted(sources.items())]
    texts = {f"rule_{rule.name}.c": emit_rule(rule) for rule in own}
    texts["rules_table.c"] = emit_table([*(load_rule(name) for name in rule_names()), *own])
    archive, flags = native.path("libpeephole_runtime.a"), native.path("own_rules.flags")
    whole = hashlib.sha256(archive.read_bytes() + flags.read_bytes())
    for name, text in sorted(texts.items()):
        whole.update(f"{name}\0{text}\0".encode())
    place = libraries() / whole.hexdigest()[:40] / "libpeephole.so"
    if place.exists():
        check_private(place, "the library")
        return place
    compile_, link = (line.split() for line in flags.read_text().splitlines())
    return _make(place, texts, [*compile_, "-I", str(native.path("rule.h").parent)], [*link, str(archive)])


def libraries() -> Path:
    """Where libraries with users' rules lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peephole" / "libraries"


def _make(place: Path, texts: Mapping[str, str], compile_: Sequence[str], link: Sequence[str]) -> Path:
    gcc = shutil.which("gcc")
    if gcc is None:
        raise MissingToolError("gcc is not installed, and a rule of your own has to be compiled; install it")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as work:
            for name, text in texts.items():
                (Path(work) / name).write_text(text)
            *objects, archive = link
            words = [
                gcc,
                "-std=gnu11",
                "-O2",
                "-fPIC",
                "-shared",
                "-Wl,-soname,libpeephole.so",
                "-Wl,-z,defs",
                *compile_,
                *texts,
                *objects,
            ]
            words += ["-Wl,--whole-archive", archive, "-Wl,--no-whole-archive", "-o", "libpeephole.so"]
            done = subprocess.run(words, cwd=work, capture_output=True, text=True, timeout=COMPILE_S)
            if done.returncode:
                said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
                raise EngineError(f"{', '.join(sorted(texts))}: gcc failed ({said}); run `make build` again")
            made = Path(work) / "libpeephole.so"
            made.chmod(0o755)
            made.rename(place)
        check_private(place, "the library")
    except subprocess.TimeoutExpired:
        raise EngineError(f"{place}: gcc was not done after {COMPILE_S} s; try again") from None
    except OSError as e:
        raise EngineError(f"{place.parent}: {e.strerror}; set XDG_CACHE_HOME to a folder of your own") from e
    return place
