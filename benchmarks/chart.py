"""The chart of the docs: jobs per second of each contender."""

from collections.abc import Mapping
from pathlib import Path

SHOWN = (
    "drain, concurrency 100, jobs/s",
    "drain, concurrency 1, jobs/s",
    "defer one, jobs/s",
    "defer 3,000 in a batch, jobs/s",
)


def draw(medians: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the rates as bars, on a logarithmic scale, in the format that the path's name ends with."""
    # Only here: whoever measures without a chart needs no plotting library.
    from matplotlib import pyplot  # noqa: PLC0415

    figures = [figure for figure in SHOWN if figure in medians]
    _, axes = pyplot.subplots(1, len(figures), figsize=(4 * len(figures), 3), squeeze=False)
    for plot, figure in zip(axes[0], figures, strict=True):
        names = list(medians[figure])[::-1]
        values = [medians[figure][name] for name in names]
        bars = plot.barh(names, values, color=["C1" if "taskq" in n else "C0" for n in names])
        plot.bar_label(bars, [f"{value:,.0f}" for value in values], padding=2)
        plot.set_xscale("log")
        plot.set_xlim(right=max(values) * 8)
        plot.set_title(figure)
        plot.spines[["top", "right"]].set_visible(False)
    pyplot.tight_layout()
    pyplot.savefig(path)
