"""`regionspot extract`: every command, from weights to merge."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from regionspot_core.support.commands import Commands
from regionspot_core.support.options import takes
from regionspot_extract.commands.arguments import AsJson, Store
from regionspot_extract.commands.exchange import export, import_, merge
from regionspot_extract.config import (
    CheckConfig,
    ExtractConfig,
    ProposalsConfig,
    TextBankConfig,
    WeightRequest,
)

app = Commands("Run the frozen models over the images once and keep their tokens.")


@app.add
@takes(WeightRequest)
def weights(
    values: dict[str, Any],
    only_list: Annotated[
        bool,
        typer.Option("--list", help="Only list what comes from where and belongs where."),
    ] = False,
) -> None:
    """Fetch published weights to where the other commands look for them.

    Interrupted, the same command goes on where it stopped. For a machine
    without network, --list says which file to copy to which place.
    """
    request = WeightRequest.parse(values, source="regionspot extract weights")

    from regionspot_extract.commands.printing import print_weight_file, print_weight_options
    from regionspot_extract.weights import check_request, fetch_weights, list_weights

    check_request(request)
    for file in list_weights(request) if only_list else fetch_weights(request):
        print_weight_file(file)
    print_weight_options(request)


@app.add
@takes(CheckConfig)
def check(as_json: AsJson = False, *, values: dict[str, Any]) -> None:
    """Say what a data set holds and what a run would leave out; no model is loaded.

    The exit code is 0 where a run can use the data set, otherwise 2.
    """
    config = CheckConfig.parse(values, source="regionspot extract check")

    from regionspot_extract.check import check_dataset
    from regionspot_extract.commands.print_check import print_check

    print_check(config, check_dataset(config), as_json=as_json)


@app.add
@takes(
    ProposalsConfig,
    without=tuple(f"backbones.{name}" for name in ("clip", "clip_pretrained", "clip_input",
                                                   "compile")),
)  # fmt: skip
def propose(values: dict[str, Any]) -> None:
    """Have SAM find regions by itself, into a file that `extract run --proposals` takes.

    Interrupted, the same command goes on where it stopped. The exit code is 1
    if an image could not be read.
    """
    config = ProposalsConfig.parse(values, source="regionspot extract propose")

    from regionspot_extract.commands.printing import print_proposals
    from regionspot_extract.propose import write_proposals

    report = write_proposals(config)
    print_proposals(config.out, report)
    if report.failed:
        raise typer.Exit(1)


@app.add
@takes(ExtractConfig, without=("out", "bank", "shard", "retry_failed", "engine", "ray"))
def plan(values: dict[str, Any]) -> None:
    """Say what an extraction will cost in disk and time, and write nothing.

    The time comes from encoding a few of the images here and now.
    """
    config = ExtractConfig.parse(
        values | {"out": "(not written)"}, source="regionspot extract plan"
    )

    from regionspot_core.backbones.runtime import Runtime
    from regionspot_extract.commands.printing import print_plan
    from regionspot_extract.encoding.stages import StageClock
    from regionspot_extract.forecast import forecast
    from regionspot_extract.prepare import prepare

    clock = StageClock(Runtime.create(config.backbones.device).device)
    extraction = prepare(config, clock=clock)
    print_plan(extraction, forecast(extraction, clock))


@app.add
@takes(ExtractConfig)
def run(values: dict[str, Any]) -> None:
    """Write the store. Interrupted, the same command goes on where it stopped.

    Images that cannot be read are recorded and left out. The exit code is 1 as
    long as the store lacks images, whichever call could not read them.
    """
    config = ExtractConfig.parse(values, source="regionspot extract run")

    from regionspot_extract.commands.printing import print_report
    from regionspot_extract.run import run_extraction

    report = run_extraction(config)
    print_report(str(config.out), report)
    if report.failed:
        raise typer.Exit(1)


@app.add
@takes(
    TextBankConfig,
    without=tuple(f"backbones.{name}" for name in ("sam", "sam_checkpoint", "sam_input",
                                                   "compile")),
    unset={"backbones.precision": "float32"},
)  # fmt: skip
def text(values: dict[str, Any]) -> None:
    """Embed class names with CLIP into a bank that the other commands take.

    Interrupted, the same command goes on where it stopped.
    """
    config = TextBankConfig.parse(values, source="regionspot extract text")

    from regionspot_core.datasets.vocabulary_files import load_vocabulary

    classes = load_vocabulary(names=config.names, file=config.vocabulary)

    from regionspot_core.backbones.loading import load_clip
    from regionspot_core.text.embed import load_class_text
    from regionspot_extract.commands.printing import print_bank
    from regionspot_extract.examples import read_examples
    from regionspot_extract.text import make_bank

    load_class_text(classes, config.text)  # what is wrong with it is told before CLIP is loaded
    examples = read_examples(config.examples, classes)
    print_bank(config.out, make_bank(config, classes, load_clip(config.backbones), examples))


@app.add
def info(store: Store, as_json: AsJson = False) -> None:
    """Say what is in a store: images, regions, bytes, models, and what is missing."""
    from regionspot_extract.commands.printing import print_info
    from regionspot_extract.stores.info import describe_store

    print_info(describe_store(store), as_json=as_json)


@app.add
@takes(
    ExtractConfig,
    without=("out", "shard", "retry_failed", "engine", "ray"),
    unset={"images": "", "annotations": ""},
)
def verify(
    store: Store,
    as_json: AsJson = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Make again what is damaged; takes the options that `run` was given.",
        ),
    ] = False,
    *,
    values: dict[str, Any],
) -> None:
    """Read every byte of a store and name the parts and images that are damaged.

    The exit code is 0 when the store is whole and complete, otherwise 1.
    With --repair only the parts at fault are done again.
    """
    from regionspot_core.errors import InputError

    missing = [] if "images" in values else ["--images"]
    if not {"annotations", "proposals"} & values.keys():
        missing.append("--annotations (or --proposals)")
    if repair and missing:
        raise InputError(
            f"--repair needs {' and '.join(missing)} as well, and the other options that the "
            f"store was made with"
        )
    config = None
    if repair:
        config = ExtractConfig.parse(values | {"out": store}, source="regionspot extract verify")

        from regionspot_extract.stores.repair import require_inputs

        require_inputs(config)

    from regionspot_extract.commands.printing import print_repair, print_verification
    from regionspot_extract.stores.verify import verify_store

    found = verify_store(store)
    if config is None or not found.repairable:
        print_verification(found, as_json=as_json)
        raise typer.Exit(0 if found.whole else 1)

    from regionspot_extract.stores.repair import repair_store

    repaired = repair_store(config, found)
    print_repair(repaired, as_json=as_json)
    raise typer.Exit(0 if repaired.after.whole and not repaired.failed else 1)


for command, name in ((export, None), (import_, "import"), (merge, None)):
    app.add(command, name)
