"""Several processes that evaluate together: those torchrun started, or a Ray cluster's workers."""

from __future__ import annotations

from regionspot_core.distributed.ray import require_ray
from regionspot_core.distributed.torchrun import own_gpu, own_share, wait_for_all
from regionspot_core.errors import ConfigError
from regionspot_core.support.progress import no_progress_line, progress_line
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.run import run_evaluations, run_share


def require_one_process(config: EvaluateConfig) -> None:
    """Refuse to do a share of the images with others that would share them too.

    Raises:
        ConfigError: There are others.
    """
    count = own_share().of
    if count > 1 or config.engine == "ray":
        others = "workers of Ray" if config.engine == "ray" else f"torchrun's {count} processes"
        raise ConfigError(
            f"--shard {config.shard.index}/{config.shard.of}: expected one process, and "
            f"{others} share the images out themselves; leave --shard out"
        )


def evaluate_together(config: EvaluateConfig) -> dict[str, EvaluationReport] | None:
    """As :func:`run_evaluations`, shared out where there are others to share with.

    Returns:
        The figures of each head; None in those of torchrun's processes that are not the first.

    Raises:
        InputError: As :func:`run_evaluations`, or Ray is not installed.
        ClusterError: As :func:`regionspot_evaluate.ray_shares.do_shares`.
    """
    share = own_share()
    if config.engine == "local" and share.of == 1:
        return run_evaluations(config)
    if config.engine == "ray":
        require_ray()
        from regionspot_evaluate.ray_shares import do_shares

        do_shares(config)
    else:
        own = config.backbones.model_copy(update={"device": own_gpu(config.backbones.device)})
        show = progress_line if share.index == 1 else no_progress_line
        run_share(config.model_copy(update={"shard": share, "backbones": own}), show=show)
        wait_for_all()
        if share.index > 1:
            return None
    # What failed was tried again by those who share.
    return run_evaluations(config.model_copy(update={"retry_failed": False}))
