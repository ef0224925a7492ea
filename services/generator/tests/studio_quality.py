"""Measures the studio's pictures with tools that know nothing of it.

    python3 -m venv venv && venv/bin/pip install 'opencv-python-headless<5' scikit-image
    cargo run -p generator --example studio_samples -- OUT 128 50
    venv/bin/python services/generator/tests/studio_quality.py OUT

Faces: the share of data-set pictures in which OpenCV's Haar cascades find exactly one face (grey, scaleFactor 1.1,
minNeighbors 5, minSize a quarter of the side). Edits: SSIM (grey, 7x7 uniform window, data range 255) of source and edit
at 128 pixels by fault, and for good edits by target; then the share on the right side of the window LOW..HIGH.
OpenCV 5 no longer ships the cascades.
"""

import argparse
import collections
import csv
import pathlib

import cv2
import numpy as np
from skimage.metrics import structural_similarity


def grey(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)


def faces(folder, rows):
    for name in ("frontalface_default", "frontalface_alt2"):
        cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")
        found, missed = collections.Counter(), []
        for row in rows:
            picture = grey(folder / row["pth"])
            hits = len(cascade.detectMultiScale(picture, 1.1, 5, minSize=(picture.shape[0] // 4,) * 2))
            found[min(hits, 2)] += 1
            if hits != 1:
                missed.append(row["pth"])
        print(f"{name}: one face in {100 * found[1] / len(rows):.1f} % of {len(rows)}, none {found[0]}, more {found[2]}; e.g. {missed[:12]}")


def similarity(folder, row):
    first, second = grey(folder / row["source"]), grey(folder / row["edit"])
    if first.shape != (128, 128):
        first, second = (cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in (first, second))
    return structural_similarity(first, second, win_size=7, data_range=255)


def edits(folder, low, high):
    by_fault, by_pair = collections.defaultdict(list), collections.defaultdict(list)
    for row in csv.DictReader(open(folder / "edits.csv")):
        value = similarity(folder, row)
        by_fault[row["fault"]].append(value)
        if row["fault"] == "None":
            by_pair[row["source_label"], row["target"]].append(value)
    for fault, values in sorted(by_fault.items()):
        quantiles = " ".join(f"{value:.3f}" for value in np.quantile(values, [0, 0.01, 0.05, 0.5, 0.95, 0.99, 1]))
        inside = np.mean([low <= value <= high for value in values])
        print(f"{fault:16} n={len(values):4}  min 1% 5% 50% 95% 99% max: {quantiles}  inside {low}..{high}: {100 * inside:.1f} %")
    labels = sorted({label for pair in by_pair for label in pair})
    print("median SSIM of good edits, source down, target across:\n" + " " * 9 + " ".join(f"{label:>8}" for label in labels))
    for source in labels:
        print(f"{source:9}" + " ".join(f"{np.median(by_pair.get((source, target), [np.nan])):8.3f}" for target in labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--low", type=float, default=0.5)
    parser.add_argument("--high", type=float, default=0.965)
    arguments = parser.parse_args()
    faces(arguments.folder, list(csv.DictReader(open(arguments.folder / "labels.csv"))))
    edits(arguments.folder, arguments.low, arguments.high)


if __name__ == "__main__":
    main()
