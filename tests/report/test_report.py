"""The HTML report: whole, self-contained, and safe against the names in it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import capture_with_stacks, whole_result

from peephole.evaluate.result import GivenUp, Result, RuleUse
from peephole.evaluate.same import Difference
from peephole.evaluate.statistics import Figure
from peephole.evaluate.warnings import Warning
from peephole.observe.capture import open_capture
from peephole.report.charts import MOST_NAMES, Point, calls_chart, ratio_chart, top_calls
from peephole.report.flame import flame, hottest
from peephole.report.html import report
from peephole.report.redact import Redactor
from peephole.report.timeline import MOST_LANES, timeline
from peephole.report.words import amount, plain, sentence

EVIL = "<script>alert('1')</script>\x1b[31m\"&\udcff"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Tags in order, texts, and whether every tag that was opened was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def evil_result() -> Result:
    return Result(
        verdict="gain",
        reason=EVIL,
        command=[EVIL, EVIL],
        primary="cpu",
        figures={
            "cpu": Figure("s", "lower", 1.0, 0.5, 0.5, 0.45, 0.55, 0.99, 2),
            EVIL: Figure("", "higher", 1, 1, 1.0, None, None, None, 1),
        },
        pairs=2,
        rules=[RuleUse(EVIL, "verified", 10, 1, {EVIL: 3}, EVIL)],
        given_up=[GivenUp(EVIL, EVIL, EVIL, [EVIL], [EVIL])],
        declined=[{"rule": EVIL, "why": EVIL}],
        differences=[Difference(EVIL, EVIL, 3)],
        not_covered=[{"pid": 1, "exe": EVIL, "why": EVIL}],
        findings=[
            {
                "slug": EVIL,
                "kind": EVIL,
                "program": EVIL,
                "object": EVIL,
                "calls": 5,
                "saving": {"ns": 5, "low": 1, "high": 9},
                "rule": EVIL,
                "gives_up": [EVIL],
                "advice": EVIL,
            }
        ],
        calls={"before": {EVIL: 9, "write": 100}, "after": {EVIL: 9}},
        ratios=[{"pair": 1, "first": "A", "ratios": {"cpu": 0.5}}, {"pair": 2, "first": "B", "ratios": {"cpu": 0.45}}],
        stories=[{"rule": EVIL, "guarantee": EVIL, "story": [EVIL]}],
        warnings=[Warning(EVIL, EVIL)],
        conditions={EVIL: EVIL, "list": [EVIL], "dict": {EVIL: EVIL}, "repeat": EVIL},
        paths={EVIL: EVIL},
        self_cost={"seconds": 1.0, "cpu_s": 0.5, "runs": 6},
    )


def test_hostile_names_stay_text_everywhere() -> None:
    page = report(evil_result())
    assert "<script" not in page and "\x1b" not in page
    assert "&lt;script&gt;" in page and "\\x1b" in page
    page.encode("utf-8")
    tags = {tag for tag, _ in Page(page).tags}
    assert "script" not in tags


def test_the_page_asks_nothing_of_the_network() -> None:
    parsed = Page(report(evil_result()))
    for tag, attrs in parsed.tags:
        assert tag not in ("link", "script", "img", "iframe")
        assert not any(str(attrs.get(name, "#")).startswith("http") for name in ("src", "href"))
    policy = next(a for t, a in parsed.tags if t == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in str(policy["content"])


def test_every_tag_is_closed_and_every_id_stands_once() -> None:
    parsed = Page(report(evil_result()))
    assert parsed.open == []
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {str(attrs["href"])[1:] for tag, attrs in parsed.tags if tag == "a"}
    assert links and links <= set(ids)


def test_charts_and_tables_have_names_that_can_be_read_aloud() -> None:
    parsed = Page(report(evil_result()))
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("svg") == 3  # ratios, pairs, calls
    assert tags.count("desc") == 3 and tags.count("caption") == tags.count("table") >= 3
    for tag, attrs in parsed.tags:
        if tag == "svg":
            assert attrs["role"] == "img"
        if tag == "th":
            assert attrs["scope"] in ("col", "row")
        if tag == "html":
            assert attrs["lang"] == "en"


def test_the_answer_comes_first() -> None:
    result = evil_result()
    page = report(result)
    assert page.index("<h1>") < page.index("<table>") < page.index('id="conditions"')
    assert "50% less CPU time" in sentence(result)


def test_a_result_without_pairs_has_a_report_too() -> None:
    page = report(Result("no-gain", "nothing worth changing", ["gzip", "x"], "cpu"))
    assert "gzip: no gain: nothing worth changing" in page and "<svg" not in page


def test_many_calls_are_summed_up() -> None:
    before = {f"call{i}": 100 - i for i in range(40)}
    rows = top_calls(before, {})
    assert len(rows) == MOST_NAMES and rows[-1][0] == "32 others"
    assert sum(row[1] for row in rows) == sum(before.values())
    assert "<rect" in calls_chart({}, None) or "<svg" in calls_chart({}, None)


def test_ratios_of_any_size_fit_the_chart() -> None:
    for ratios in ([0.001, 0.002], [1.0, 1.0], [5000.0, 0.1], [1e12]):
        points = [Point(i, ratio, "A") for i, ratio in enumerate(ratios)]
        assert "<svg" in ratio_chart(points, ratios[0], None, None, "cpu")


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert plain("a\x1b[2Jb\nc\u202e") == "a\\x1b[2Jb\\nc\\u202e"
    assert amount(1.5, "s") == "1.50 s" and amount(0.0123, "s") == "12.3 ms" and amount(2e-5, "s") == "20 µs"
    assert amount(123456, "calls") == "123,456" and amount(2_500_000, "bytes") == "2.5 MB"


def test_redaction_hides_paths_and_keeps_equal_ones_equal() -> None:
    hide = Redactor()
    told = hide.text("stdout: /srv/me/secret.txt and /srv/me/secret.txt, at byte 3")
    words = [word for word in told.replace(",", "").split() if word.startswith("#")]
    assert "secret" not in told and len(words) == 2 and words[0] == words[1] and "at byte 3" in told
    assert hide.command(["/usr/bin/cp", "a", "b"])[0] == "cp"
    assert Redactor().name("a") != hide.name("a")


def test_a_timeline_counts_every_call_once(tmp_path: Path) -> None:
    found = timeline(open_capture(capture_with_stacks(tmp_path / "capture")))
    assert found is not None and len(found.lanes) == 3
    assert sum(lane.calls for lane in found.lanes) == 601
    assert found.lanes[1].label == "prog1 (101): 200 calls, most read"
    assert found.seconds == pytest.approx(0.599)


def test_many_processes_share_a_lane(tmp_path: Path) -> None:
    found = timeline(open_capture(capture_with_stacks(tmp_path / "capture", processes=20)))
    assert found is not None and len(found.lanes) == MOST_LANES + 1
    assert found.lanes[-1].label.startswith("12 other processes: ")
    assert sum(lane.calls for lane in found.lanes) == 601


def test_a_flame_graph_has_every_sample_where_it_was(tmp_path: Path) -> None:
    found = flame(open_capture(capture_with_stacks(tmp_path / "capture")))
    assert found is not None and found.root.weight == 90 and found.unit == "samples of CPU time"
    main = found.root.below["prog0"].below["main"]
    assert main.weight == 90 and main.below["flush_all<int>"].weight == 30
    assert main.below["flush_all<int>"].below["write"].below["write()"].own == 30
    assert dict(hottest(found.root))["write()"] == pytest.approx(1 / 3)


def test_without_samples_the_stacks_of_calls_are_shown(tmp_path: Path) -> None:
    folder = capture_with_stacks(tmp_path / "capture")
    (folder / "samples.parquet").unlink()
    found = flame(open_capture(folder))
    assert found is not None and found.root.weight == 600 and found.unit == "calls whose stack was sampled"
    (folder / "stacks.parquet").unlink()
    assert flame(open_capture(folder)) is None


def test_proofs_are_shown_with_their_stories(tmp_path: Path) -> None:
    capture_with_stacks(tmp_path / "capture")
    page = report(whole_result(), tmp_path)
    Page(page)
    text = " ".join(Page(page).texts)
    assert "1 guarantees proved to be kept, 1 given up" in text and "given up, at most 10ms" in text
    assert "How the loss of visibility can show" in text
    assert "Hidden by: python3 → libc" in text
    assert page.count("<svg") == 5  # ratios, pairs, calls, a timeline, a flame graph
