"""Who made the calls, and where CPU time went: a flame graph, from the stacks of a capture that has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from peephole.report.charts import WIDTH, svg
from peephole.report.markup import table, text
from peephole.trace import Capture

ROW = 15  # user units
MOST_ROWS = 32  # frames deeper than this are cut
LEAST = 0.004  # of the whole: narrower frames are left out
MOST_HOT = 10
LETTER = 5.6  # user units that a letter takes, about


@dataclass
class Node:
    """A frame in its place: `weight` samples in it and below it, `own` in itself."""

    name: str
    weight: int = 0
    own: int = 0
    below: dict[str, Node] = field(default_factory=dict)

    def child(self, name: str) -> Node:
        return self.below.setdefault(name, Node(name))


@dataclass(frozen=True)
class Flame:
    """The tree of a capture's stacks; `unit` says what a weight is: samples of CPU time, or sampled calls."""

    root: Node
    unit: str


def flame(capture: Capture) -> Flame | None:
    """The flame graph of a capture: of CPU samples where there are some, else of the calls whose stack was sampled.

    None when it has no stacks.
    """
    stacks = capture.folder / "stacks.parquet"
    if not stacks.exists():
        return None
    frames = _frames(stacks)
    images = _images(capture)
    for name, unit in (("samples.parquet", "samples of CPU time"), ("calls.parquet", "calls whose stack was sampled")):
        rows = _rows(capture.folder / name)
        root = Node("all")
        for row, count in rows.items():
            stack, image, call = row
            _add(root, [images.get(image, "?"), *frames.get(stack, []), *([f"{call}()"] if call else [])], count)
        if root.weight:
            return Flame(root, unit)
    return None


def _add(root: Node, path: list[str], count: int) -> None:
    root.weight += count
    node = root
    for name in path:
        node = node.child(name)
        node.weight += count
    node.own += count


def _rows(table_path: Any) -> dict[tuple[int, int, str | None], int]:
    """(stack, image, call) -> how many rows."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not table_path.exists() or "stack" not in pq.read_schema(table_path).names:
        return {}
    found = pq.read_table(table_path, columns=["stack", "image", "name"])
    found = found.filter(pc.is_valid(found.column("stack")))
    if found.num_rows == 0:
        return {}
    found = found.set_column(2, "name", found.column("name").cast("string"))
    counted = found.group_by(["stack", "image", "name"]).aggregate([([], "count_all")]).to_pylist()
    return {(row["stack"], row["image"], row["name"]): row["count_all"] for row in counted}


def _frames(stacks: Any) -> dict[int, list[str]]:
    """stack -> its frames in words, the outermost first."""
    import pyarrow.parquet as pq

    found: dict[int, list[str]] = {}
    columns = ["stack", "depth", "library", "function"]
    rows = pq.read_table(stacks, columns=columns).sort_by([("stack", "ascending"), ("depth", "descending")])
    for row in rows.to_pylist():
        library = PurePath((row["library"] or b"").decode("utf-8", "backslashreplace")).name
        name = row["function"] or library or "?"
        found.setdefault(row["stack"], []).append(name)
    return found


def _images(capture: Capture) -> dict[int, str]:
    import pyarrow.parquet as pq

    rows = pq.read_table(capture.processes, columns=["image", "exe"]).to_pylist()
    return {row["image"]: PurePath((row["exe"] or b"?").decode("utf-8", "backslashreplace")).name for row in rows}


def flame_figure(found: Flame) -> str:
    """The graph, and the frames with the largest share of their own as a table: it can be read without the graph."""
    rows: list[tuple[Node, int, float]] = []
    _place(found.root, 0, 0.0, found.root.weight, rows)
    deepest = max(depth for _, depth, _ in rows)
    body = "".join(_box(node, depth, x, found.root.weight) for node, depth, x in rows)
    hot = hottest(found.root)
    said = f"{found.root.weight:,} {found.unit}; most in " + ", ".join(f"{n} {s:.0%}" for n, s in hot[:3])
    chart = svg((deepest + 1) * ROW + 2, "Flame graph: callers above, what they call below", said, body)
    caption = f"{found.root.weight:,} {found.unit}; the wider, the more. Callers stand above what they call."
    shares = [(name, f"{share:.1%}") for name, share in hot]
    note = "Where the most of it ended: share of each function itself."
    return (
        f'<figure class="full">\n{chart}<figcaption>{text(caption)}</figcaption>\n</figure>\n'
        f"{table(note, ('Function', 'Share'), shares, numbers=(1,))}"
    )


def _place(node: Node, depth: int, x: float, whole: int, rows: list[tuple[Node, int, float]]) -> None:
    rows.append((node, depth, x))
    if depth + 1 >= MOST_ROWS:
        return
    for child in sorted(node.below.values(), key=lambda one: (-one.weight, one.name)):
        if child.weight / whole >= LEAST:
            _place(child, depth + 1, x, whole, rows)
        x += child.weight / whole


def _box(node: Node, depth: int, x: float, whole: int) -> str:
    width = node.weight / whole * WIDTH
    fits = int((width - 5) / LETTER)
    name = node.name if len(node.name) <= fits else node.name[: max(fits - 1, 0)] + "…" if fits >= 3 else ""
    tip = f"{node.name}: {node.weight:,} ({node.weight / whole:.1%})"
    tone = f"flame{depth % 3}"
    box = (
        f'<g><title>{text(tip)}</title><rect class="{tone}" x="{x * WIDTH:.2f}" y="{depth * ROW}" '
        f'width="{max(width - 0.4, 0.3):.2f}" height="{ROW - 1}"/>'
    )
    if name:
        box += f'<text class="frame" x="{x * WIDTH + 3:.2f}" y="{depth * ROW + 10.5}">{text(name)}</text>'
    return box + "</g>\n"


def hottest(root: Node) -> list[tuple[str, float]]:
    """Functions by the share of samples that ended in them."""
    own: dict[str, int] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting += node.below.values()
        if node.own:
            own[node.name] = own.get(node.name, 0) + node.own
    ranked = sorted(own.items(), key=lambda item: (-item[1], item[0]))[:MOST_HOT]
    return [(name, count / root.weight) for name, count in ranked]
