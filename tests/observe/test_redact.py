"""A redacted capture holds none of the user's words, and still says what is equal to what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recording import rows

from peephole.observe.capture import open_capture
from peephole.observe.redact import Redactor


def test_equal_names_have_equal_hashes_and_a_path_keeps_its_depth() -> None:
    hide = Redactor(b"key")
    one, two = hide.path(b"/srv/me/secret"), hide.path(b"/srv/me/other")
    assert one.rpartition(b"/")[0] == two.rpartition(b"/")[0] and one != two
    assert one.count(b"/") == 3 and b"secret" not in one
    assert hide.path(b"../x/./y").startswith(b"../~") and hide.path(b"") == b""
    assert Redactor().path(b"/srv/me/secret") != one


@pytest.mark.parametrize("path", [b"/usr/lib/x86_64-linux-gnu/libc.so.6", b"/bin/sh"])
def test_the_system_s_own_files_keep_their_names(path: bytes) -> None:
    assert Redactor().path(path) == path


@pytest.mark.parametrize("path", [b"/usr/local/secret", b"/usr/lib/../../srv/secret", b"/libsecret", b"secret"])
def test_what_only_looks_like_the_system_s_does_not(path: bytes) -> None:
    assert b"secret" not in Redactor().path(path)


def test_addresses_keep_their_family() -> None:
    hide = Redactor()
    assert hide.address(b"inet:10.0.0.7:80").startswith(b"inet:~") and hide.address(b"unix:") == b"unix:"
    assert b"secret" not in hide.address(b"unix:/run/secret") and b"secret" not in hide.address(b"unix:@secret")


@pytest.mark.root
@pytest.mark.parametrize("engine", ["ebpf", "ptrace"])
def test_no_word_of_the_user_is_in_any_file_of_the_capture(
    engine: str, need_ebpf: None, need_ptrace: None, tmp_path: Path
) -> None:
    (tmp_path / "hushhush").write_text("x")
    words = [
        sys.executable,
        "-m",
        "peephole",
        "observe",
        "--redact",
        "--engine",
        engine,
        "-o",
        str(tmp_path / "c"),
        "--",
    ]
    done = subprocess.run(
        [*words, "sh", "-c", f"cat {tmp_path}/hushhush; cat {tmp_path}/hushhush"], capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, b"xx")
    capture = open_capture(tmp_path / "c")
    everything: list[dict[str, Any]] = [*rows(capture), *rows(capture, "processes")]
    assert "hushhush" not in str(everything) and "hushhush" not in (capture.folder / "meta.json").read_text()
    opened = [c["path"] for c in rows(capture) if c["name"] == "openat" and (c["path"] or b"").startswith(b"/~")]
    assert len(opened) - len(set(opened)) >= 1  # both opens of the file look the same
    assert capture.meta.machine["redacted"] and "hostname" not in capture.meta.machine
