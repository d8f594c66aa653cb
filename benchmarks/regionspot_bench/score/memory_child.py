"""The process whose memory is measured: scores boxes, and prints its peak as JSON.

python -m regionspot_bench.score.memory_child ANNOTATIONS DETECTIONS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from regionspot_bench.peak import peak_bytes
from regionspot_evaluate.scoring.scorer import LvisScorer


def main(annotations: str, detections: str) -> None:
    """Score, and print seconds and peak memory."""
    imported = peak_bytes()
    began = time.perf_counter()
    score = LvisScorer(Path(annotations), ious=("bbox",)).score(Path(detections), iou="bbox")
    figures = {
        "seconds": time.perf_counter() - began,
        "imported_bytes": imported,
        "peak_bytes": peak_bytes(),
        "detections": score.counts.detections,
        "scorer": score.scorer,
    }
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
