"""The browser; and labelled sets made from the demo radiographs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser

from tests import browsing

COPIES = 6


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of a file: the loop that it runs in is gone after them."""
    with browsing.chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve demo radiographs and changed copies of them, each copy of another patient."""
    source = Path(__file__).parents[2] / "deploy" / "demo"
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    with (source / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["image,labels,patient_id,view,sex,age"]
    for row in rows:
        image = cv2.imread(str(source / row["image"]), cv2.IMREAD_GRAYSCALE)
        for copy in range(COPIES):
            matrix = cv2.getRotationMatrix2D((512, 512), random.uniform(-8, 8), 1.05)
            turned = cv2.warpAffine(image, matrix, (1024, 1024), borderMode=cv2.BORDER_REFLECT)
            changed = cv2.resize(turned, (256, 256), interpolation=cv2.INTER_AREA)
            changed = np.clip(changed * random.uniform(0.7, 1.1), 0, 255).astype(np.uint8)
            name = f"{row['image'][:-4]}_{copy}.png"
            cv2.imwrite(str(folder / "images" / name), changed)
            view = "AP" if copy % 2 else "PA"
            patient = f"{row['patient']}-{copy}"
            lines.append(f"{name},{row['labels']},{patient},{view},{row['sex']},{row['age']}")
    lines.append("absent.png,Pneumonia,none,PA,F,50")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
