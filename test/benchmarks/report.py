"""Figures of a benchmark run: medians, ratios, targets; as tables, bars, JSON and a chart.

Nothing here measures anything, so all of it can be tested with made-up numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OURS = "ipfs_accelerate_py"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(slots=True)
class Row:
    """One client's samples of one figure, in the order in which they were taken."""

    name: str
    samples: list[float]

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median; 0 if too few."""
        if len(self.samples) < 4 or not self.value:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4)
        return (high - low) / 2 / abs(self.value)


@dataclass(slots=True)
class Figure:
    """One thing that was measured, of several clients.

    `key` names it in JSON and in targets, `title` and `unit` head its column, `caption` stands
    over its bars. `is_cost` is false where more is better. `base` is the row of ours that others
    are compared with.
    """

    key: str
    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    is_cost: bool = True
    caption: str = ""
    base: str = OURS

    def row(self, name: str) -> Row | None:
        """Return the row of a client, None where it was not measured."""
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, name: str, other: str) -> float | None:
        """Return `name`'s value divided by `other`'s; None where one of them is missing.

        Where both have as many samples they were taken in turn, round by round: then it is the
        median of the rounds' ratios, which a machine that is slow for a while does not move.
        """
        mine, theirs = self.row(name), self.row(other)
        if mine is None or theirs is None:
            return None
        if len(mine.samples) == len(theirs.samples) and all(theirs.samples):
            pairs = zip(mine.samples, theirs.samples, strict=True)
            return statistics.median(a / b for a, b in pairs)
        return mine.value / theirs.value if theirs.value else None

    def burden(self, name: str) -> float | None:
        """Return how many times our cost (time, memory, …) this client has; 1.0 is ours."""
        return self.ratio(name, self.base) if self.is_cost else self.ratio(self.base, name)

    def as_json(self) -> dict[str, Any]:
        """Return everything about this figure as plain data."""
        return {
            "key": self.key,
            "title": self.caption or self.title,
            "unit": self.unit,
            "lower_is_better": self.is_cost,
            "rows": [
                {
                    "name": row.name,
                    "median": row.value,
                    "spread": row.spread,
                    "ours_divided_by_this": self.ratio(OURS, row.name),
                    "samples": row.samples,
                }
                for row in self.rows
            ],
        }


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that the project states: our figure, alone or divided by a peer's.

    `row` is the row that it is about, where that is not ours in each of its variants.
    """

    text: str
    figure: str
    limit: float
    peer: str | None = None
    at_least: bool = False
    row: str | None = None

    def value(self, figures: Iterable[Figure], name: str) -> float | None:
        """Return what is compared with the limit, for our row `name`; None if not measured."""
        figure = next((figure for figure in figures if figure.key == self.figure), None)
        if figure is None:
            return None
        if self.peer is not None:
            return figure.ratio(name, self.peer)
        row = figure.row(name)
        return None if row is None else row.value

    def holds(self, value: float) -> bool:
        """Say whether `value` keeps to the bound."""
        return value >= self.limit if self.at_least else value <= self.limit


def number(value: float) -> str:
    """Return a figure with three digits that count: 0.412, 17.3, 1,290; whole numbers whole."""
    if value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 10:
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def table(heading: str, figures: Sequence[Figure]) -> str:
    """Return figures side by side: a line a client; a value and our ratio to it a figure."""
    names = list(dict.fromkeys(row.name for figure in figures for row in figure.rows))
    header = ["", *(cell for figure in figures for cell in (figure.title, "±", "ours÷"))]
    units = ["", *(cell for figure in figures for cell in (figure.unit, "", ""))]
    lines = [header, units]
    for name in names:
        cells = [name]
        for figure in figures:
            row = figure.row(name)
            if row is None:
                cells += ["-", "", ""]
                continue
            ratio = figure.ratio(OURS, name)
            cells += [
                number(row.value),
                f"{row.spread:.0%}" if row.spread else "",
                f"{ratio:.2f}" if name != OURS and ratio else "",
            ]
        lines.append(cells)
    kept = [i for i in range(len(header)) if i == 0 or any(line[i] for line in lines[2:])]
    lines = [[line[i] for i in kept] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(kept))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    shown = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    return "\n".join([heading, rule, *shown[:2], rule, *shown[2:], rule])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = cells
    return [
        first.ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)),
    ]


def plain_table(heading: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return dictionaries as a table: a column a key, in the order in which the keys appear."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    keys = [key for key in keys if not any(isinstance(row.get(key), (list, dict)) for row in rows)]
    lines = [[key.replace("_", " ") for key in keys]]
    lines += [[_cell(row.get(key)) for key in keys] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keys))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    header, *shown = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    return "\n".join([heading, rule, header, rule, *shown, rule])


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    return number(value)


def bars(figure: Figure, width: int = 40) -> str:
    """Return a figure as bars of text, each as long as its cost in multiples of ours."""
    burdens = [(row, figure.burden(row.name)) for row in figure.rows]
    longest = max((b for _, b in burdens if b is not None), default=1.0)
    label = max((len(row.name) for row in figure.rows), default=0)
    lines = [f"{figure.caption or figure.title} ({figure.unit}): {_DIRECTION}"]
    for row, burden in burdens:
        if burden is None:
            continue
        length = max(1, round(width * 8 * burden / longest))
        bar = "█" * (length // 8) + ("", *"▏▎▍▌▋▊▉")[length % 8]
        lines.append(f"  {row.name:<{label}} {bar} {number(burden)}{TIMES} ({number(row.value)})")
    return "\n".join(lines)


_DIRECTION = "cost in multiples of ours, shorter is better"


def verdicts(
    targets: Iterable[Target], figures: Sequence[Figure], variants: Sequence[str]
) -> tuple[str, list[dict[str, Any]]]:
    """Judge the stated targets; return them as lines, and as plain data.

    Args:
        targets: What is stated.
        figures: What was measured.
        variants: Our rows to judge, the usual one first.
    """
    lines, judged, unknown = [], [], []
    for target in targets:
        names = variants if target.row is None else (target.row,)
        values = {name: target.value(figures, name) for name in names}
        known = {name: value for name, value in values.items() if value is not None}
        sign = "≥" if target.at_least else "≤"
        kept = all(target.holds(value) for value in known.values()) if known else None
        found = ", ".join(
            f"{number(value)}" + ("" if name == names[0] else f" ({_variant(name)})")
            for name, value in known.items()
        )
        if kept is None:
            unknown.append(target.text)
        else:
            word = "holds " if kept else "MISSED"
            lines.append(f"  {word}  {target.text} {sign} {number(target.limit)}: {found}")
        judged.append(
            {
                "target": target.text,
                "limit": target.limit,
                "at_least": target.at_least,
                "values": known,
                "holds": kept,
            }
        )
    if unknown:
        lines.append(f"  not measured in this run: {'; '.join(unknown)}")
    return "\n".join(lines), judged


def _variant(name: str) -> str:
    return name.removeprefix(OURS).strip(" ,")


_INK, _MUTED, _OURS_COLOUR, _PEER_COLOUR = "#1f2430", "#6b7280", "#0f766e", "#c3c9d4"


def draw_chart(figures: Sequence[Figure], path: str, subtitle: str) -> None:
    """Write a PNG with one panel of horizontal bars a figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = min(3, len(figures))
    lines = -(-len(figures) // columns)
    tallest = max(len(figure.rows) for figure in figures)
    with plt.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": _INK}):
        sheet, axes = plt.subplots(
            lines,
            columns,
            figsize=(5.4 * columns, (0.36 * tallest + 1.0) * lines + 1.1),
            squeeze=False,
            layout="constrained",
        )
        sheet.get_layout_engine().set(w_pad=0.15, h_pad=0.15, rect=(0, 0, 1, 0.93))
        sheet.text(0.01, 0.985, f"{OURS}: cost in multiples of ours, shorter is better",
                   fontsize=14, weight="bold", va="top")  # fmt: skip
        sheet.text(0.01, 0.945, subtitle, fontsize=9, color=_MUTED, va="top")
        panels: list[Any] = list(axes.flat)
        for axis, figure in zip(panels, figures, strict=False):
            _draw_panel(axis, figure)
        for axis in panels[len(figures) :]:
            axis.set_visible(False)
        sheet.savefig(path, dpi=150, facecolor="white")
        plt.close(sheet)


def _draw_panel(axis: Any, figure: Figure) -> None:
    known = [(row, b) for row in figure.rows if (b := figure.burden(row.name)) is not None]
    known.sort(key=lambda pair: pair[1], reverse=True)
    longest = max(burden for _, burden in known)
    colours = [_OURS_COLOUR if row.name.startswith(OURS) else _PEER_COLOUR for row, _ in known]
    axis.barh(range(len(known)), [burden for _, burden in known], color=colours, height=0.68)
    axis.axvline(1.0, color=_OURS_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)))
    for place, (row, burden) in enumerate(known):
        axis.text(burden + longest * 0.015, place, f"{number(burden)}{TIMES}  {number(row.value)}",
                  va="center", fontsize=8, color=_INK)  # fmt: skip
    axis.set_yticks(range(len(known)), [row.name for row, _ in known])
    axis.set_xlim(0, longest * 1.3)
    axis.set_title(
        f"{figure.caption or figure.title} ({figure.unit})", loc="left", fontsize=10, weight="bold"
    )
    axis.tick_params(axis="y", length=0)
    axis.set_xticks([])
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)


def as_json(figures: Iterable[Figure], judged: Any, skipped: Any, machine: Any) -> dict[str, Any]:
    """Return a whole run as plain data."""
    return {
        "machine": machine,
        "figures": [figure.as_json() for figure in figures],
        "targets": judged,
        "skipped": skipped,
    }
