"""Cohen's kappa of two readers on a finding that is present or absent.

J. Cohen, Educational and Psychological Measurement 20 (1960) 37; its large-sample standard error
by J. L. Fleiss, J. Cohen and B. S. Everitt, Psychological Bulletin 72 (1969) 323.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance: 1 is full, 0 is chance; with its 95 % interval.

    The interval is of large samples: below about 30 images it is too narrow.
    """

    value: float
    low: float
    high: float


def cohen_kappa(
    both_present: int, first_only: int, second_only: int, both_absent: int
) -> Kappa | None:
    """Return the agreement, None where chance alone would make it full or there is no image.

    That is where both readers have said one and the same of every image.
    """
    counts = ((both_present, first_only), (second_only, both_absent))
    images = sum(map(sum, counts))
    if images == 0:
        return None
    shares = [[count / images for count in row] for row in counts]
    first = [sum(row) for row in shares]
    second = [sum(column) for column in zip(*shares, strict=True)]
    observed = shares[0][0] + shares[1][1]
    chance = sum(a * b for a, b in zip(first, second, strict=True))
    if both_present + first_only + second_only == 0 or images == both_present:
        return None
    value = (observed - chance) / (1 - chance)
    agreed = sum(shares[i][i] * (1 - (first[i] + second[i]) * (1 - value)) ** 2 for i in range(2))
    differed = (1 - value) ** 2 * sum(
        shares[i][1 - i] * (second[i] + first[1 - i]) ** 2 for i in range(2)
    )
    spread = agreed + differed - (value - chance * (1 - value)) ** 2
    error = sqrt(max(0.0, spread) / images) / (1 - chance)
    return Kappa(value, max(-1.0, value - Z95 * error), min(1.0, value + Z95 * error))
