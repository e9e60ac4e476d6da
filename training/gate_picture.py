"""The gate's comparison as a picture: differences of AUC with their intervals and margins."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

from training.verdict import AucChange, Verdict

BETTER, WORSE, UNSURE = "#009E73", "#D55E00", "#5B6B78"
"""Of Okabe and Ito's palette, told apart by the colour blind."""

DPI = 110


def picture(verdict: Verdict) -> bytes:
    """PNG: one line for the mean, for each finding, and for the mean of each group."""
    whole = [*((verdict.macro,) if verdict.macro else ()), *verdict.findings]
    rows = [*whole, *(change for change in verdict.groups if change.finding is None)]
    figure = Figure(figsize=(9.5, 1.6 + 0.34 * max(1, len(rows))), layout="constrained")
    axes = figure.add_subplot()
    for row, change in enumerate(rows):
        gap, colour = change.difference, _colour(change)
        axes.plot([gap.low, gap.high], [row, row], color=colour, linewidth=2)
        axes.plot(gap.value, row, "o", color=colour, markersize=6)
        if row < len(whole):
            margin = verdict.rule.finding_margin if change.finding else verdict.rule.macro_margin
            axes.plot(
                [-margin] * 2, [row - 0.4, row + 0.4], color=WORSE, linestyle=":", linewidth=2
            )
            axes.plot(change.bound, row, "|", color="black", markersize=11)
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_yticks(range(len(rows)), [_told(change) for change in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(
        "AUC of the candidate less that of the serving bundle, 95 % interval;\n"
        "dotted: the margin; upright line: the bound that has to be to the right of it",
        fontsize=9,
    )
    axes.grid(axis="x", alpha=0.25)
    outcome = "passed" if verdict.passed else "refused"
    axes.set_title(
        f"Gate: {outcome}; {verdict.images} images of {verdict.patients} patients", fontsize=11
    )
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _colour(change: AucChange) -> str:
    if change.difference.low > 0:
        return BETTER
    return WORSE if change.difference.high < 0 else UNSURE


def _told(change: AucChange) -> str:
    name = (change.finding or "mean").replace("_", " ")
    group = " ".join(change.group) if change.group else ""
    return f"{group}: {name} ({change.positives} + {change.negatives})".removeprefix(": ")
