"""Files that were looked for and not there: once this program, or one it hears of, has made them, they are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.improve.arm import arm

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
BEGIN = """
import errno, os, signal, sys, threading
os.chdir(sys.argv[1])
os.mkdir("folder")
os.symlink("nowhere", "folder/dangling")
def says(path, flags=os.O_RDONLY):
    try:
        os.close(os.open(path, flags))
        return "there"
    except OSError as e:
        return errno.errorcode[e.errno]
def look():
    for i in range(50):
        assert says(f"folder/{i}") == "ENOENT"
    assert says("folder/x") == "ENOENT"
def makes(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
look()
"""
#: a change, and what an open of folder/x then says
CASES = {
    "it makes it": ('makes("folder/x")', "there"),
    "it renames to it": ('makes("y"); look(); os.rename("y", "folder/x")', "there"),
    "it links it": ('makes("y"); look(); os.link("y", "folder/x")', "there"),
    "it makes a folder of it": ('os.mkdir("folder/x")', "there"),
    "what it points to is made": ('os.symlink("../y", "folder/x"); look2 = says("folder/x"); makes("y")', "there"),
    "it goes elsewhere": ('os.makedirs("a/folder/x"); look(); os.chdir("a")', "there"),
    "it goes elsewhere by a descriptor": (
        'os.makedirs("a/folder/x"); a = os.open("a", os.O_RDONLY); look(); os.fchdir(a)',
        "there",
    ),
    "its child makes it": ('p = os.fork() or (makes("folder/x"), os._exit(0)); os.wait()', "there"),
    "a thread makes it": ('t = threading.Thread(target=makes, args=("folder/x",)); t.start(); t.join()', "there"),
    "a handler makes it": (
        """
signal.signal(signal.SIGUSR1, lambda *_: makes("folder/x")); look(); signal.raise_signal(signal.SIGUSR1)
""",
        "there",
    ),
    "it is asked to be made": ('says("folder/x", os.O_CREAT)', "there"),
    "nothing is made": ("pass", "ENOENT"),
    "the folder goes": ('os.remove("folder/dangling"); os.rmdir("folder")', "ENOENT"),
}


def run(code: str, folder: Path) -> tuple[str, int]:
    with arm(["cache_absent"]) as armed:
        words = [PYTHON, "-I", "-S", "-c", BEGIN + code, str(folder)]
        done = subprocess.run(words, env=armed.environment(os.environ), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout, int(armed.stats()["rules"]["cache_absent"]["hits"])


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_found_once_it_is_there(case: str, tmp_path: Path) -> None:
    change, then = CASES[case]
    said, hits = run(f'{change}\nprint(says("folder/x"))', tmp_path)
    assert said == f"{then}\n"
    assert hits >= 40


def test_what_is_wrong_otherwise_keeps_its_error(tmp_path: Path) -> None:
    asked = '"folder/" + "n" * 256, "folder/" + "n" * 255, "folder/dangling", "folder/..", "folder/.", "folder/", ""'
    said, _ = run(f"print([says(path) for path in ({asked})])", tmp_path)
    assert said == "['ENAMETOOLONG', 'ENOENT', 'ENOENT', 'there', 'there', 'there', 'ENOENT']\n"


def test_another_process_is_missed_only_while_nothing_else_is_done(tmp_path: Path) -> None:
    code = """
said, heard = os.pipe(), os.pipe()
if os.fork() == 0:
    os.read(heard[0], 1); makes("folder/x"); os.write(said[1], b"x"); os._exit(0)
look(); os.write(heard[1], b"x"); look2 = os.read(said[0], 1)
print(says("folder/x"))
"""
    assert run(code, tmp_path)[0] == "there\n"
