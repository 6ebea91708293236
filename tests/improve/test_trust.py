"""On whose word a rule runs: verified by its certificate, proved again, or forced; and every output says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peephole.errors import RuleError
from peephole.improve import plan as plans
from peephole.improve import plan_file
from peephole.improve.consent import parse
from peephole.improve.places import mounted
from peephole.prove import certificate

RULE = "coalesce_writes"
WRITES = "import os; f = os.open('out', os.O_WRONLY | os.O_CREAT); [os.write(f, b'x') for _ in range(500)]"


def peephole(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peephole", *map(str, words)], cwd=cwd, env=os.environ | env, timeout=250,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip


def planned(folder: Path, rule: str = RULE) -> Path:
    """A plan file of one rule on the mount of `folder`: others come and go."""
    usable = [place for place in mounted() if place.dev == folder.stat().st_dev]
    folder.chmod(0o700)
    plan_file.save(plans.of_rules([rule], usable, parse("all")), folder / "plan.toml")
    return folder / "plan.toml"


def improve(folder: Path, *words: str | Path, **env: str) -> tuple[subprocess.CompletedProcess[str], dict[str, object]]:
    """Run WRITES; what it left must be right whatever rule acted. Gives the rule's counters, too."""
    (folder / "out").unlink(missing_ok=True)
    stats = folder / "stats.json"
    done = peephole("improve", *words, "--stats", stats, "--", sys.executable, "-c", WRITES, cwd=folder, **env)
    assert done.returncode or (folder / "out").read_bytes() == b"x" * 500
    return done, json.loads(stats.read_text())["rules"].get(RULE, {}) if not done.returncode else {}


def test_a_plan_names_a_digest_of_more_than_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = certificate.load_certificate(RULE)
    whole = proof.certificate
    assert f'certificate = "{whole}"' in planned(tmp_path).read_text()
    lost = proof.guarantees["weak"]["visibility"]
    lost["kept"] = not lost["kept"]
    assert proof.certificate != whole
    lost["kept"] = not lost["kept"]
    monkeypatch.setattr(certificate, "model_digest", lambda: "another model")
    assert proof.certificate != whole


def test_a_stale_plan_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    done, rule = improve(tmp_path, "--plan", plan)
    assert (done.returncode, done.stderr) == (0, "") and rule["trust"] == "verified" and rule["hits"]
    text = plan.read_text()
    digest = certificate.load_certificate(RULE).certificate
    plan.write_text(text.replace(digest, "0" * 64))
    done, _ = improve(tmp_path, "--plan", plan)
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1
    assert "certificate of coalesce_writes is not the one planned with; make the plan again" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [lambda b: b.replace(b'"kept": false', b'"kept": true'), lambda b: b[:-100]])
def test_a_damaged_certificate_is_refused_and_nothing_runs(tmp_path: Path, change: object) -> None:
    proof = certificate.load_certificate(RULE)
    name = certificate.certificate_name(certificate.load_rule(RULE), neighbours=False)
    place = tmp_path / "peephole" / "proofs" / name
    certificate._write(place, proof)
    place.write_bytes(change(place.read_bytes()))  # type: ignore[operator]
    done, _ = improve(tmp_path, "--rules", RULE, "--allow", "all", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1
    assert f"{place}: a damaged certificate" in done.stderr and "prove the rule again" in done.stderr
    assert not (tmp_path / "out").exists()


def test_recheck_proves_again(tmp_path: Path) -> None:
    plan = planned(tmp_path, "memo_identity")
    began = time.time()
    done = peephole("improve", "--plan", plan, "--recheck", "--", "true", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0 and not done.stderr, done.stderr
    (made,) = (tmp_path / "peephole" / "proofs").iterdir()
    assert made.stat().st_mtime > began - 1


def test_a_folder_called_like_a_rule_does_not_stand_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RULE).mkdir()
    (tmp_path / RULE / "rule.py").write_text("class Other(Rule): pass\n")
    monkeypatch.chdir(tmp_path)
    assert certificate.load_rule(RULE).path.parent.parent.name == "rules"
    with pytest.raises(RuleError):
        certificate.load_rule(f"./{RULE}")


def test_a_forced_rule_runs_without_consent_and_every_count_says_so(tmp_path: Path) -> None:
    done, _ = improve(tmp_path, "--rules", RULE)
    assert done.returncode == 125 and "it gives up more than is allowed" in done.stderr
    for words in (("--rules", "none", "--force", RULE), ("--rules", RULE, "--force", RULE)):
        done, rule = improve(tmp_path, *words)
        assert done.returncode == 0 and rule["trust"] == "trusted" and rule["hits"]
        (line,) = done.stderr.splitlines()
        assert line.startswith("peephole: coalesce_writes is trusted, not verified (--force); it may give up ")
        assert "visibility" in line and "contents" not in line


def test_a_forced_rule_needs_no_certificate(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    plan.write_text(plan.read_text().replace(certificate.load_certificate(RULE).certificate, "stale"))
    done, rule = improve(tmp_path, "--plan", plan, "--force", RULE)
    assert done.returncode == 0 and rule["trust"] == "trusted" and rule["hits"]
    done, _ = improve(tmp_path, "--rules", "none", "--force", "no_such_rule")
    assert done.returncode == 125 and "no_such_rule: no such rule" in done.stderr


def test_the_result_and_the_report_name_the_trust(tmp_path: Path) -> None:
    words = ("-n", "2", "--rules", "none", "--force", RULE, "-o", "res", "--json")
    done = peephole("evaluate", *words, "--", sys.executable, "-c", WRITES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [rule["trust"] for rule in result["rules"]] == ["trusted"] and result["rules"][0]["hits"]
    assert {"trusted-rule"} <= {one["name"] for one in result["warnings"]}
    assert {"visibility"} <= {one["guarantee"] for one in result["given_up"]} and not result["proofs"]
    page = (tmp_path / "res" / "report.html").read_text()
    assert "coalesce_writes is trusted, not verified" in page and ">trusted<" in page


def test_status_names_the_trust(tmp_path: Path) -> None:
    words = ["improve", "--rules", "none", "--force", RULE, "--", "sleep", "60"]
    with subprocess.Popen([sys.executable, "-m", "peephole", *words], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None and "trusted" in process.stderr.readline()
            for _ in range(100):
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                found = [peephole("status", child, cwd=tmp_path) for child in children]  # the program, and its keeper
                done = next((one for one in found if RULE in one.stdout), None)
                if done is not None:
                    break
                time.sleep(0.1)
            assert done is not None and f"{RULE} [trusted, not verified]: 0 hits" in done.stdout
        finally:
            process.terminate()


def test_an_engine_that_is_not_there_says_why(tmp_path: Path) -> None:
    done, _ = improve(tmp_path, "--rules", "none", "--engine", "preload")
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
    assert "--engine preload: " in done.stderr and "use --engine patch or sud" in done.stderr
    assert improve(tmp_path, "--rules", "none", "--engine", "auto")[0].returncode == 0
