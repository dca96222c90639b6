"""The pictures of a report, as SVG that a page embeds: light and dark, without ids that could clash."""

import base64
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moreso._audit import Verdict, bits_text
from moreso.evaluation._pairs import can_measure
from moreso.evaluation._quality import Quality
from moreso.evaluation._rows import Evidence, Row
from moreso.relations import Order, Statement
from moreso.tabular import is_categorical, rank_levels

P = ParamSpec("P")

DATA, WITHOUT, WITH = "#7a8494", "#d0661a", "#1787ab"
"""Colours of data, of samples without and of samples with knowledge: legible on white and on black."""

INK = "#010203"
"""Stands for the colour of text, which follows the page's theme."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "moreso",  # so that equal pictures are equal bytes
    "text.parse_math": False,  # a column may be named 'price in $'
    "axes.unicode_minus": False,
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}

THEME = (
    "<style>:root{color:#1b2430}"
    "@media (prefers-color-scheme:dark){:root{color:#e6e9ee}}"
    "@media print{:root{color:#000}}</style>"
)
"""The colour of text in light, in dark and on paper."""

POINTS = 250
"""Points in each scatter plot."""

LEVELS = 8
"""The most levels of a category that a histogram shows."""

HISTOGRAMS = 24
"""The most columns whose histograms are drawn."""

ARROWS = 60
"""The most statements whose order is drawn; longer lists are shown as text."""

CHARACTER, ARROW = 0.062, 0.9
"""Width of a character and length of an arrow in the picture of an order, in inches."""

WIDEST = 16
"""Wider pictures of an order, in inches, would be too small on a page."""

LONG_NAME = 22
"""Longer names of columns are cut short."""


@dataclass(frozen=True)
class Picture:
    """One figure.

    Args:
        source: the SVG as a data URI.
        alt: what it shows, in a sentence.
        width: in CSS pixels.
        height: in CSS pixels.
    """

    source: str
    alt: str
    width: int
    height: int


def _drawn(draw: Callable[P, tuple[Figure, str]]) -> Callable[P, Picture]:
    """Turn a function that draws a figure and describes it into one that returns a picture."""

    @wraps(draw)
    def call(*args: P.args, **kwargs: P.kwargs) -> Picture:
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fonts that lack a letter, which a browser has
            figure, alt = draw(*args, **kwargs)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
        head, rest = svg.split(">", 1)
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        source = base64.b64encode(f"{head}>{THEME}{rest}".encode()).decode("ascii")
        return Picture(f"data:image/svg+xml;base64,{source}", alt, width, height)

    return call


def _short(name: str) -> str:
    return name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"


@_drawn
def scatter(statement: Statement, evidence: Evidence) -> tuple[Figure, str]:
    """Draw the pairs that a statement names, in data and samples: a row a pair, a column a kind of rows.

    Of a group, the first column is shown.
    """
    ref, *others = (group[0] for group in statement.groups)
    height = 2.1 * len(others)
    figure = Figure(figsize=(7.2, height))
    panels = figure.subplots(len(others), 3, sharex="row", sharey="row", squeeze=False)
    figure.subplots_adjust(0.09, 0.5 / height, 0.99, 1 - 0.25 / height, 0.1, 0.35)
    kinds = (
        ("data", DATA, evidence.data),
        ("without knowledge", WITHOUT, evidence.without),
        ("with knowledge", WITH, evidence.with_knowledge),
    )
    for number, (row, other) in enumerate(zip(panels, others, strict=True)):
        for panel, (kind, colour, table) in zip(row, kinds, strict=True):
            both = table[[ref, other]].dropna()
            both = both.sample(min(len(both), POINTS), random_state=0)
            x, y = (_numbers(both[name], evidence.data[name]) for name in (other, ref))
            panel.scatter(x, y, s=7, color=colour, alpha=0.6, linewidths=0, rasterized=True)
            panel.locator_params(nbins=3)
            panel.tick_params(length=2, labelsize=6)
            panel.set_xlabel(_short(other))
            if kind == "data":
                panel.set_ylabel(_short(ref))
            if number == 0:
                panel.set_title(kind)
    names = " and ".join(f"{ref} over {other}" for other in others)
    return figure, f"Scatter plots of {names}, in data, in samples without knowledge and in samples with knowledge."


def _numbers(column: "pd.Series[Any]", like: "pd.Series[Any]") -> np.ndarray:
    """Return a column for an axis: levels by their place, a little apart so that equal points show."""
    if not is_categorical(like):
        return rank_levels(column).to_numpy(dtype=float) if column.dtype == bool else column.to_numpy()
    levels = {level: place for place, level in enumerate(sorted(map(str, like.dropna().unique())))}
    places = column.astype(str).map(lambda level: levels.get(level, len(levels))).to_numpy(dtype=float)
    return places + np.random.default_rng(0).uniform(-0.2, 0.2, len(places))


@_drawn
def curves(evidence: Evidence) -> tuple[Figure, str]:
    """Draw the training of all members: loss on validation rows, penalty, and share of statements that held."""
    figure = Figure(figsize=(8.6, 2.6))
    loss, penalty, held = figure.subplots(1, 3)
    figure.subplots_adjust(0.05, 0.17, 0.99, 0.9, 0.2)
    for histories, colour, label in ((evidence.plain, WITHOUT, "without"), (evidence.trained, WITH, "with")):
        for number, history in enumerate(histories):
            values = np.array(history.validation_loss)
            epochs = np.linspace(history.epochs / max(1, len(values)), history.epochs, len(values))
            loss.plot(epochs, values, color=colour, linewidth=0.9, label="" if number else label)
            if history.validation_loss:
                loss.plot(history.best_epoch + 1, min(values), "o", color=colour, markersize=3)
            if colour == WITH and history.penalty:
                penalty.plot(epochs[-len(history.penalty) :], history.penalty, color=colour, linewidth=0.9)
            if colour == WITH and history.held:
                held.plot(epochs[-len(history.held) :], history.held, color=colour, linewidth=0.9)
    values = np.concatenate([each.validation_loss for each in (*evidence.plain, *evidence.trained)])
    if len(values):
        loss.set_ylim(values.min() - 0.05 * np.ptp(values), np.quantile(values, 0.98))
    loss.legend()
    held.set_ylim(-0.05, 1.05)
    for panel, title in ((loss, "loss on validation rows"), (penalty, "penalty"), (held, "share of statements held")):
        panel.set_title(title)
        panel.set_xlabel("epoch")
    members = len(evidence.trained)
    return figure, (
        f"Training curves of {members} {'model' if members == 1 else 'models'} with knowledge and "
        f"{len(evidence.plain)} without: loss on validation rows, penalty, and share of statements that held. "
        "Dots mark the epochs that were kept."
    )


@_drawn
def marginals(evidence: Evidence) -> tuple[Figure, str]:
    """Draw the distribution of each column in data and samples."""
    data, without, informed = evidence.data, evidence.without, evidence.with_knowledge
    shown = [name for name in data.columns if name in informed and can_measure(data[name])]
    names = shown[:HISTOGRAMS]
    count = max(1, -(-len(names) // 4))
    height = 1.5 * count + 0.4
    figure = Figure(figsize=(8.6, height))
    panels = figure.subplots(count, 4, squeeze=False)
    figure.subplots_adjust(0.02, 0.7 / height, 0.98, 1 - 0.25 / height, 0.1, 0.5)
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    for panel, name in zip(panels.flat, names, strict=False):
        (_bars if is_categorical(data[name]) else _histogram)(panel, (data[name], without[name], informed[name]))
        panel.set_title(_short(str(name)))
        panel.set_yticks([])
        panel.tick_params(length=2, labelsize=6)
    labels = [Line2D([], [], color=colour, linewidth=3) for colour in (DATA, WITHOUT, WITH)]
    figure.legend(labels, ["data", "without knowledge", "with knowledge"], loc="lower center", ncols=3)
    more = f" The first {HISTOGRAMS} of {len(shown)} columns." if len(shown) > HISTOGRAMS else ""
    listed = ", ".join(map(str, names))
    return figure, f"Distributions of {listed} in data, and in samples without and with knowledge.{more}"


def _histogram(panel: Axes, tables: Iterable["pd.Series[Any]"]) -> None:
    values = [pd.to_numeric(_as_plain(each.dropna())).to_numpy(dtype=float) for each in tables]
    low, high = (float(np.quantile(values[0], q)) for q in (0.0, 1.0))
    edges = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), 21)
    for own, colour in zip(values, (DATA, WITHOUT, WITH), strict=True):
        height = np.histogram(own, edges)[0] / max(1, len(own))
        panel.stairs(height, edges, color=colour, fill=colour == DATA, alpha=0.45 if colour == DATA else 1, linewidth=1)


def _as_plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return numbers; times in days since 1970."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column - pd.Timestamp(0, tz=column.dt.tz)
    if pd.api.types.is_timedelta64_dtype(column):
        return column.dt.total_seconds() / 86400
    return column.astype(float)


def _bars(panel: Axes, tables: Iterable["pd.Series[Any]"]) -> None:
    counts = [Counter(each.dropna().astype(str)) for each in tables]
    levels = [level for level, _ in counts[0].most_common(LEVELS)]
    for place, (own, colour) in enumerate(zip(counts, (DATA, WITHOUT, WITH), strict=True)):
        heights = [own[level] / max(1, own.total()) for level in levels]
        panel.bar(np.arange(len(levels)) + 0.27 * (place - 1), heights, 0.27, color=colour)
    panel.set_xticks(range(len(levels)), [_short(level)[:9] for level in levels], rotation=45 if len(levels) > 3 else 0)


@_drawn
def matrices(quality: Quality) -> tuple[Figure, str]:
    """Draw the normalised HSIC of all pairs in data and samples."""
    names = quality.columns
    # In inches: the names, three matrices, and a bar beside them.
    side, names_width = min(2.4, 0.8 + 0.1 * len(names)), 1.4
    width, height = names_width + 3 * (side + 0.15) + 0.8, side + names_width + 0.3
    figure = Figure(figsize=(width, height))
    bottom, top = names_width / height, (names_width + side) / height
    lefts = [(names_width + place * (side + 0.15)) / width for place in range(4)]
    panels = [figure.add_axes((left, bottom, side / width, side / height)) for left in lefts[:3]]
    bar = figure.add_axes((lefts[3], bottom, 0.12 / width, top - bottom))
    titles = {"data": "data", "without": "without knowledge", "with": "with knowledge"}
    image = None
    for panel, (kind, found) in zip(panels, quality.pairs.items(), strict=True):
        matrix = np.full((len(names), len(names)), np.nan)
        for (one, other), each in found.items():
            i, j = names.index(one), names.index(other)
            matrix[i, j] = matrix[j, i] = each.hsic
        image = panel.imshow(matrix, cmap="viridis", vmin=0, vmax=0.6)
        panel.set_title(titles[kind])
        panel.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90, fontsize=6)
        panel.set_yticks(range(len(names)), [_short(name) for name in names] if kind == "data" else [], fontsize=6)
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0)
    assert image is not None
    figure.colorbar(image, cax=bar, label="normalised HSIC")
    return figure, (
        f"Matrices of the normalised HSIC of {len(names)} columns, in data, in samples without and with knowledge; "
        "brighter pairs depend on each other more."
    )


@_drawn
def order(found: Order, rows: Mapping[Statement, Row]) -> tuple[Figure, str]:
    """Draw the order of pairs: an arrow a statement, from the pair that depends more to the other.

    Args:
        found: the order.
        rows: what the report says of each statement.
    """
    graph = nx.DiGraph([(arrow.above, arrow.below) for arrow in found.arrows])
    graph.add_nodes_from(found.signs)
    depth = _depths(graph)
    layers = Counter(depth.values())
    most = max(layers.values())
    place: dict[int, tuple[float, float]] = {}
    right = 0.0
    for layer in range(max(layers) + 1):
        own = [node for node in graph if depth[node] == layer]
        # Beside their left neighbours, so that arrows cross less.
        own.sort(key=lambda node: -np.mean([place[up][1] for up in graph.predecessors(node) if up in place] or [0]))
        width = max(CHARACTER * len(found.label(node)) for node in own)
        for number, node in enumerate(own):
            place[node] = (right + width / 2, -(number + 0.5) * most / len(own))
        right += width + ARROW
    # Coordinates are inches across and lines down.
    figure = Figure(figsize=(right - ARROW + 0.2, 0.3 * most + 0.1))
    panel = figure.add_axes((0, 0, 1, 1))
    panel.axis("off")
    panel.set_xlim(-0.1, right - ARROW + 0.1)
    panel.set_ylim(-most, 0)
    for arrow in found.arrows:
        colour, style = _stroke(arrow.contradicts, arrow.follows, rows.get(arrow.statement))
        ends = [
            (place[node][0] + side * CHARACTER * len(found.label(node)) / 2, place[node][1])
            for node, side in ((arrow.above, 1), (arrow.below, -1))
        ]
        stroke = {"arrowstyle": "->", "color": colour, "linestyle": style, "linewidth": 1.2, "shrinkA": 3, "shrinkB": 3}
        panel.annotate("", xy=ends[1], xytext=ends[0], arrowprops=stroke)
    for node, (x, y) in place.items():
        panel.text(x, y, found.label(node), ha="center", va="center")
    described = "; ".join(
        f"{found.pairs[arrow.above]} more than {found.pairs[arrow.below]}" for arrow in found.arrows[:12]
    )
    more = "; and more" if len(found.arrows) > 12 else ""
    return figure, f"The order of pairs by how much they depend on each other: {described}{more}."


def _depths(graph: "nx.DiGraph[int]") -> dict[int, int]:
    """Return the layer of each node: below all of its predecessors, if there is no cycle."""
    condensed = nx.condensation(graph)
    layers = {node: layer for layer, nodes in enumerate(nx.topological_generations(condensed)) for node in nodes}
    return {node: layers[condensed.graph["mapping"][node]] for node in graph}


def _stroke(contradicts: bool, follows: bool, row: Row | None) -> tuple[str, str]:
    """Return colour and style of the arrow of a statement."""
    if contradicts or (row is not None and row.verdict is Verdict.CONTRADICTED):
        return "#d03b2f", "solid"
    if follows:
        return DATA, "dotted"
    return (DATA, "solid") if row is not None and bits_text(row.bits) == "0" else (WITH, "solid")


def draws_order(found: Order) -> bool:
    """Whether the order is small enough for a picture."""
    if not 0 < len(found.arrows) <= ARROWS:
        return False
    graph = nx.DiGraph([(arrow.above, arrow.below) for arrow in found.arrows])
    layers = 1 + max(_depths(graph).values())
    return layers * (CHARACTER * max(len(found.label(pair)) for pair in range(len(found.pairs))) + ARROW) <= WIDEST
