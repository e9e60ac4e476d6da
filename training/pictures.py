"""Pictures of an evaluation: ROC curves, reliability, confusion matrices, scores, subgroups."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from training.evaluate import Evaluation
from training.figures import BINS

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5E4FA2", "#666666")
"""Okabe and Ito's palette, told apart by the colour blind."""

WITHOUT, WITH = "#8A9BA8", "#D55E00"
COLUMNS = 3
DPI = 110

Panels = list[tuple[Axes, int]]


def pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """PNG files by name; none where each finding is of one class only."""
    if not _measured(evaluation):
        return {}
    drawn = {
        "roc": _roc(evaluation),
        "reliability": _reliability(evaluation),
        "confusion": _confusion(evaluation),
        "scores": _scores(evaluation),
        "subgroups": _subgroups(evaluation),
    }
    return {name: _png(figure) for name, figure in drawn.items() if figure is not None}


def words(name: str) -> str:
    """A finding's key as a reader says it."""
    return name.replace("_", " ")


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _measured(evaluation: Evaluation) -> list[int]:
    findings = evaluation.whole.findings
    return [i for i, name in enumerate(evaluation.scored.names) if findings[name].auc is not None]


def _panels(evaluation: Evaluation, height: float, title: str) -> tuple[Figure, Panels]:
    """One panel for each measured finding, in rows of `COLUMNS`."""
    columns = _measured(evaluation)
    rows = -(-len(columns) // COLUMNS)
    figure = Figure(figsize=(10.5, height * rows + 0.3), layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = []
    for number, column in enumerate(columns):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        axes.set_title(words(evaluation.scored.names[column]), fontsize=11, fontweight="bold")
        axes.tick_params(labelsize=8)
        panels.append((axes, column))
    return figure, panels


def _roc(evaluation: Evaluation) -> Figure:
    scored = evaluation.scored
    figure = Figure(figsize=(7.5, 7.5), layout="constrained")
    axes = figure.add_subplot()
    for column in _measured(evaluation):
        name = scored.names[column]
        found = evaluation.whole.findings[name]
        colour = COLOURS[column % len(COLOURS)]
        false, true, _ = roc_curve(scored.targets[:, column], scored.scores[:, column])
        auc = found.auc
        told = f"{auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})" if auc else ""
        axes.plot(false, true, color=colour, linewidth=1.8, label=f"{words(name)}: {told}")
        sensitivity, specificity = found.rates["sensitivity"], found.rates["specificity"]
        if sensitivity and specificity:
            axes.plot(
                1 - specificity.value, sensitivity.value, "o", color=colour, markersize=8,
                markeredgecolor="white", markeredgewidth=1.5, zorder=3,
            )  # fmt: skip
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1)
    axes.set(
        xlabel="1 - specificity (false alarms among images without the finding)",
        ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal",
        title="ROC curves; the dot is the bundle's threshold",
    )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend(title="AUC (95 %)", loc="lower right", fontsize=9, alignment="left")
    return figure


def _reliability(evaluation: Evaluation) -> Figure:
    figure, panels = _panels(evaluation, 3.6, "Reliability; grey: images per bin")
    scored = evaluation.scored
    for axes, column in panels:
        p, truth = scored.probabilities[:, column], scored.targets[:, column]
        stated = np.histogram(p, bins=BINS, range=(0, 1))[0]
        frequency, mean = calibration_curve(truth, p, n_bins=BINS)
        axes.bar(
            (np.arange(BINS) + 0.5) / BINS, 0.3 * stated / stated.max(), width=0.9 / BINS,
            color="#D5DCE2", zorder=1,
        )  # fmt: skip
        for middle, count in zip((np.arange(BINS) + 0.5) / BINS, stated, strict=True):
            if count:
                top = 0.3 * count / stated.max() + 0.01
                axes.text(middle, top, str(count), ha="center", fontsize=7, color="#55636E")
        axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1)
        axes.plot(mean, frequency, "o-", color=COLOURS[0], linewidth=1.5, markersize=5, zorder=3)
        ece = evaluation.whole.findings[scored.names[column]].ece.value
        axes.set_title(f"{axes.get_title()}, ECE {ece:.3f}", fontsize=11, fontweight="bold")
        axes.set(xlabel="probability stated", xlim=(0, 1), ylim=(0, 1.02))
        axes.set_ylabel("share with the finding")
    return figure


def _confusion(evaluation: Evaluation) -> Figure:
    figure, panels = _panels(evaluation, 3.2, "Confusion at the threshold; percent of the row")
    for axes, column in panels:
        name = evaluation.scored.names[column]
        tn, fp, fn, tp = evaluation.whole.findings[name].cells
        cells = np.array([[tn, fp], [fn, tp]])
        shares = cells / cells.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, side), count in np.ndenumerate(cells):
            share = shares[row, side]
            axes.text(
                side, row, f"{count}\n{share:.0%}", ha="center", va="center", fontsize=11,
                color="white" if share > 0.55 else "#1B2A35",
            )  # fmt: skip
        axes.set_xticks([0, 1], ["not flagged", "flagged"], fontsize=9)
        axes.set_yticks([0, 1], ["without", "with"], fontsize=9)
        axes.set_ylabel("label")
    return figure


def _scores(evaluation: Evaluation) -> Figure:
    figure, panels = _panels(
        evaluation, 3.2, "Probabilities of images with and without the finding"
    )
    scored = evaluation.scored
    for axes, column in panels:
        p, truth = scored.probabilities[:, column], scored.targets[:, column]
        top = float(np.clip(np.quantile(p, 0.995) * 1.15, 0.1, 1.0))
        bins = np.linspace(0, top, 26).tolist()
        for side, colour, label in ((0, WITHOUT, "without"), (1, WITH, "with the finding")):
            part = np.minimum(p[truth == side], top)
            weights = np.full(len(part), 100 / len(part))
            axes.hist(
                part,
                bins,
                weights=weights,
                color=colour,
                alpha=0.55,
                label=f"{label} ({len(part)})",
            )
        axes.axvline(scored.thresholds[column], color="#1B2A35", linewidth=1.4, label="threshold")
        axes.set(xlabel="probability", ylabel="% of the images", xlim=(0, top))
        axes.legend(fontsize=7.5, frameon=False)
    return figure


def _subgroups(evaluation: Evaluation) -> Figure | None:
    groups = [("all", evaluation.whole)]
    groups += [
        (f"{column} {value}", group)
        for column, parts in evaluation.groups.items()
        for value, group in parts.items()
        if group.macro_auc
    ]
    measured = _measured(evaluation)
    if len(groups) < 2:
        return None
    rows = -(-len(measured) // COLUMNS)
    height = (0.9 + 0.26 * len(groups)) * rows + 0.4
    figure = Figure(figsize=(10.5, height), layout="constrained")
    first: Any = None
    for number, column in enumerate(measured):
        first = axes = figure.add_subplot(rows, COLUMNS, number + 1, sharex=first, sharey=first)
        name = evaluation.scored.names[column]
        for row, (_, group) in enumerate(groups):
            found = group.findings.get(name)
            if found is None or found.auc is None:
                axes.text(0.5, row, " too few", fontsize=7, va="center", color="#888888")
                continue
            axes.plot([found.auc.low, found.auc.high], [row, row], color=COLOURS[0], linewidth=1.6)
            axes.plot(found.auc.value, row, "o", color=COLOURS[0], markersize=5)
        axes.axvline(0.5, color="#999999", linestyle="--", linewidth=1)
        axes.set_title(words(name), fontsize=11, fontweight="bold")
        axes.set_yticks(range(len(groups)), [told for told, _ in groups], fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", labelleft=number % COLUMNS == 0)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("AUC", fontsize=9)
        axes.grid(axis="x", alpha=0.25)
    figure.suptitle("AUC within groups, with 95 % intervals", fontsize=12)
    return figure
