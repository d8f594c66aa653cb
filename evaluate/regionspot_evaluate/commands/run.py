"""`regionspot evaluate run`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from regionspot_core.support.options import takes
from regionspot_evaluate.commands.models import AS_RECORDED, with_models_of_head
from regionspot_evaluate.config import EvaluateConfig

SOURCE = "regionspot evaluate run"


@takes(EvaluateConfig, unset=AS_RECORDED)
def run(
    values: dict[str, Any],
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do the I-th of N shares of the images; then the same without it scores.",
        ),
    ] = None,
) -> None:
    """Write results (boxes and masks), score them, and CLIP alone beside them.

    The rules follow from the annotations: LVIS's where they have its lists of
    absent classes, else COCO's; masks where each has one. Interrupted, the same
    command goes on. Several heads share the frozen models' work, and each gets a
    folder below --out. Started by torchrun, or with --engine ray, several
    processes share the images. Images that cannot be read are reported; the
    exit code is then 1.
    """
    from regionspot_core.distributed.shares import Shard

    if shard is not None:
        values["shard"] = Shard.from_text(shard)
    EvaluateConfig.parse(values, source=SOURCE)
    config = EvaluateConfig.parse(with_models_of_head(values, values["heads"][0]), source=SOURCE)

    from regionspot_core.support.tables import show
    from regionspot_evaluate.reports.printing import evaluation_output, share_output
    from regionspot_evaluate.run import run_share
    from regionspot_evaluate.shares import evaluate_together, require_one_process

    if shard is not None:
        require_one_process(config)
        share = run_share(config)
        show(*share_output(shard, share))
        failed = share.failed
    else:
        reports = evaluate_together(config)
        if reports is None:
            return  # another process speaks
        show(*evaluation_output(reports))
        failed = next(iter(reports.values())).failed
    if failed:
        raise typer.Exit(1)
