"""How many workers a Ray cluster is given, and what each reserves."""

from typing import Any

import pytest

from regionspot_core.distributed.ray_cluster import Crew, RayOptions

GPU_BOX = {"CPU": 96.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("options", "device", "nodes", "crew"),
    [
        ({}, "auto", [{"CPU": 2.0}], Crew(1, 2, 0, 2)),
        ({}, "auto", [{"CPU": 16.0}, {"CPU": 5.0}], Crew(10, 2, 0, 2)),
        ({}, "auto", [{"CPU": 1.0}], Crew(1, 1, 0, 2)),
        ({"threads": 8}, "auto", [{"CPU": 16.0}, {"CPU": 20.0}], Crew(4, 8, 0, 8)),
        ({"actors": 2}, "auto", [{"CPU": 2.0}], Crew(2, 1, 0, 2)),
        ({}, "auto", [], Crew(1, 1, 0, 2)),
        ({}, "auto", [GPU_BOX, GPU_BOX, {"CPU": 8.0}], Crew(16, 1, 1, 2)),
        ({"gpus": 0.5}, "auto", [GPU_BOX], Crew(16, 1, 0.5, 2)),
        ({"actors": 3}, "auto", [GPU_BOX], Crew(3, 1, 1, 2)),
        ({}, "cpu", [GPU_BOX], Crew(48, 2, 0, 2)),
        # A cluster that grows on demand has no GPU before one is asked for.
        ({}, "cuda", [{"CPU": 4.0}], Crew(1, 1, 1, 2)),
    ],
)
def test_the_crew_fills_the_cluster(
    options: dict[str, Any], device: str, nodes: list[dict[str, float]], crew: Crew
) -> None:
    found = Crew.plan(RayOptions.model_validate(options), nodes, device=device, threads=2)
    assert found == crew
