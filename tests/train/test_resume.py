"""A run that was killed, stopped or damaged goes on to the bits of one that never was."""

import io
import json
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stepping
import torch
from stepping import Killed, killed_at

from regionspot_core.errors import CheckpointError, ConfigError, FingerprintError
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.heads.registry import build_head
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, load_settings, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.validation import Validator
from regionspot_train.record.folder import read_checkpoint
from regionspot_train.record.state import read_state
from regionspot_train.run import TrainReport, run_training
from regionspot_train.training_run import TrainingRun
from regionspot_train.verify import verify_run

STEPS, EVERY = 24, 4
"""Steps of a run, and between its checkpoints."""
SETTINGS = [
    f"steps={STEPS}", "batch_images=4", "log_every=3", "head.ffn_width=32", "head.heads=2",
    "head.layers=1", "head.dropout=0.2", "optimiser.lr=0.003", "optimiser.warmup_steps=2",
    f"checkpoint_every={EVERY}", "keep_checkpoints=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    make_cache(path, [2, 3, 1, 2, 0, 4, 1, 2, 2])
    return path


def settings(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


def fit(
    store: Path, out: Path, *overrides: str, resume: bool = False, pictured: bool = False
) -> TrainReport:
    return run_training(
        settings(*overrides), store=store, out=out, resume=resume, pictured=pictured
    )


def losses(out: Path) -> list[tuple[int, float, float, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(n["step"], n["loss"], n["gradient_norm"], n["lr"]) for n in lines]


def weights(out: Path) -> bytes:
    return (out / "head.safetensors").read_bytes()


@pytest.fixture(scope="module", params=["full", "windowed"])
def shuffle(request: pytest.FixtureRequest) -> str:
    return f"reading.shuffle={request.param}"


@pytest.fixture(scope="module")
def whole(store: Path, shuffle: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert fit(store, out, shuffle).steps == STEPS
    return out


def fit_until(step: int, store: Path, out: Path, *overrides: str) -> None:
    """Run, and be killed before the step that would follow ``step`` ones."""
    with killed_at("train step", step):
        fit(store, out, *overrides)


@pytest.mark.parametrize(
    "step",
    [0, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 4, 11, 12)), 5, STEPS - 1],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    store: Path, shuffle: str, whole: Path, tmp_path: Path, step: int
) -> None:
    fit_until(step, store, tmp_path / "run", shuffle)
    torch.manual_seed(999)  # whatever state the process is in
    report = fit(store, tmp_path / "run", shuffle, resume=True)
    assert (report.resumed, report.steps) == (step // EVERY * EVERY, STEPS)
    assert weights(tmp_path / "run") == weights(whole)
    assert losses(tmp_path / "run") == losses(whole)


def signalled(
    number: signal.Signals, step: int, store: Path, out: Path
) -> subprocess.CompletedProcess[str]:
    """The command line, which sends itself a signal before a step."""
    options = [word for each in SETTINGS for word in ("--set", each)]
    return stepping.run_command(
        "train", "fit", "--cache", str(store), "--out", str(out), "--config", "demo", "--resume",
        *options, signalled=(number, "train step", step),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_kill_9(store: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for step in (3, 10):
        assert signalled(signal.SIGKILL, step, store, out).returncode == -signal.SIGKILL
        assert not (out / "head.json").exists()
    assert fit(store, out, resume=True).resumed == 8
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop(
    store: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    done = signalled(number, 6, store, out)
    assert done.returncode == 128 + number
    assert "with --resume goes on" in done.stdout
    assert f"stopped after 7 of {STEPS} steps" in " ".join(done.stdout.split())
    assert fit(store, out, resume=True).resumed == 7
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_a_run_that_is_older_than_a_setting_goes_on(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fit_until(10, store, out)
    record = json.loads((out / "run.json").read_text())
    del record["config"]["pieces"], record["config"]["loss"]["federated"]
    (out / "run.json").write_text(json.dumps(record))
    assert fit(store, out, resume=True).resumed == 8
    assert weights(out) == weights(whole)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_the_last_checkpoints_stay(whole: Path) -> None:
    names = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert names == ["step_0000016", "step_0000020"]
    files = sorted(path.name for path in (whole / "checkpoints" / names[0]).iterdir())
    assert files == ["head.json", "head.safetensors", "state.pt"]


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_a_finished_run_is_left_alone(
    store: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.suffix != ".png"
              and path.is_file()}  # fmt: skip
    report = fit(store, whole, resume=True)
    assert (report.resumed, report.steps, report.stopped) == (STEPS, STEPS, None)
    assert "is finished already" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_another_run_is_not_resumed(store: Path, tmp_path: Path) -> None:
    fit(store, tmp_path / "run", "steps=5")
    with pytest.raises(CheckpointError, match="go on with it by --resume, or choose another"):
        fit(store, tmp_path / "run", "steps=5")
    with pytest.raises(FingerprintError, match=r"config\.optimiser\.lr: expected 0\.1, found 0"):
        fit(store, tmp_path / "run", "steps=5", "optimiser.lr=0.1", resume=True)
    make_cache(tmp_path / "other", [2, 3, 1, 2], seed=5)
    with pytest.raises(FingerprintError, match=r"data\.datasets\.0\."):
        fit(tmp_path / "other", tmp_path / "run", "steps=5", resume=True)


CHECKPOINT_FILES = ("head.json", "head.safetensors", "state.pt")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def stopped(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after step 10, with checkpoints of steps 4 and 8."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    fit_until(10, store, out)
    return out


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_damaged_checkpoint_is_passed_over(
    store: Path, whole: Path, stopped: Path, tmp_path: Path, name: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The run goes on from the one before, says so, and ends with the bits it would have had."""
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    flip(out / "checkpoints" / "step_0000008" / name, 100)
    assert fit(store, out, resume=True).resumed == 4
    told = " ".join(capfd.readouterr().err.split())
    assert "step_0000008: the checkpoint is damaged" in told
    assert "Going on from the checkpoint of step 4 instead" in told
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)
    assert verify_run(out).damaged == []


def test_no_changed_bit_of_a_checkpoint_is_gone_on_from(stopped: Path, tmp_path: Path) -> None:
    folder, config = tmp_path / "step", settings()
    shutil.copytree(stopped / "checkpoints" / "step_0000008", folder)
    head = load_head(folder)
    read_checkpoint(folder, 8, head, config)
    for name in CHECKPOINT_FILES:
        length = (folder / name).stat().st_size
        for at in range(0, length, length // 60):
            flip(folder / name, at)
            with pytest.raises(CheckpointError, match="the checkpoint is damaged"):
                read_checkpoint(folder, 8, head, config)
            flip(folder / name, at)
    read_checkpoint(folder, 8, head, config)


def test_verify_names_damaged_checkpoints(stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    found = verify_run(out)
    assert (found.finished, found.damaged, found.unsealed) == (False, [], [])
    assert [each.path.name for each in found.checked] == [
        "run.json", "step_0000004", "step_0000008"
    ]  # fmt: skip
    flip(out / "checkpoints" / "step_0000008" / "state.pt", 2000)
    (damaged,) = verify_run(out).damaged
    assert damaged.path.name == "step_0000008"
    shutil.copytree(out / "checkpoints" / "step_0000004", out / "checkpoints" / "step_0000012")
    assert "step 4, expected 12" in str(verify_run(out).damaged[-1].problem)


def test_a_run_without_a_whole_checkpoint_is_refused(
    store: Path, stopped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    for step in (4, 8):
        flip(out / "checkpoints" / f"step_{step:07d}" / "state.pt", 500)
    with pytest.raises(CheckpointError, match=r"step_0000008: the .* none before it is whole"):
        fit(store, out, resume=True)
    shutil.rmtree(out / "checkpoints")
    assert fit(store, out, resume=True).resumed == 0


def test_a_damaged_checkpoint_counts_for_none_that_is_kept(
    store: Path, stopped: Path, tmp_path: Path
) -> None:
    """The whole one stays until there are ``keep_checkpoints`` others, and the damaged one goes."""
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    flip(out / "checkpoints" / "step_0000008" / "state.pt", 500)
    with pytest.raises(Killed):  # at step 6, as a stop would: a checkpoint out of turn
        fit_until_stopped(6, store, out)
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["step_0000004", "step_0000006"]


def fit_until_stopped(step: int, store: Path, out: Path) -> None:
    config = settings()
    sources = open_sources(store, config.data)
    run = TrainingRun(config, sources, out, device=torch.device("cpu"), resume=True)
    with run:
        loader = FeatureLoader(sources, config, start_step=run.step)
        for batch in loader:
            run.learn(batch)
            run.write(stopping=run.step == step)
            if run.step == step:
                raise Killed


def junk(values: dict[str, Any]) -> object:
    return b"junk"


def change(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    def apply(values: dict[str, Any]) -> object:
        target: Any = values
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value
        return values

    return apply


STATE = ("learner", "optimiser", "state")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (junk, "not a checkpoint's state"),
        (lambda _: [], r"input should be a valid dictionary.*, got \[\]"),
        (lambda _: {}, "learner: required"),
        (lambda _: {"learner": 1, "meter": 2}, "learner: "),
        (lambda _: torch.zeros(3), "input should be a valid dictionary"),
        (change("learner", "step", value=-5), "greater than or equal to 0, got -5"),
        (change("learner", "step", value=10**30), "expected a number below"),
        (change("learner", "step", value=torch.tensor(8.5)), r"learner\.step"),
        (change("learner", "step", value=7), "step 7, expected 8"),
        (change("learner", "random", value=[]), r"learner\.random"),
        (change("learner", "random", 0, value={"cpu": torch.zeros(7)}), "expected bytes"),
        (
            change("learner", "random", 0, value={"cpu": torch.zeros(5056, dtype=torch.uint8)}),
            "no state of PyTorch's random numbers",
        ),
        (change("learner", "optimiser", value={}), r"learner\.optimiser\.state: required"),
        (change(*STATE, 9999, value={}), r"state\.9999\.step: required"),
        (lambda v: change(*STATE, 9999, value=v["learner"]["optimiser"]["state"][0])(v),
         "the optimiser has a parameter 9999 of"),
        (change(*STATE, 0, "exp_avg", value=torch.zeros(2)), "exp_avg of parameter 0 is"),
        (change(*STATE, 0, "exp_avg", value=torch.zeros(2).to_sparse()), "exp_avg of parameter 0"),
        (change(*STATE, 0, "exp_avg", value="x"), "exp_avg: "),
        (change(*STATE, 0, "step", value=torch.zeros(2)), "expected one number"),
        (change("meter", "losses", value=3), r"meter\.losses"),
        (change("meter", "losses", value=["x"]), r"meter\.losses\.0"),
        (change("other", value=1), "unknown key 'other'"),
    ],
)  # fmt: skip
def test_a_state_of_any_content_is_one_sentence(
    stopped: Path, spoil: Callable[[dict[str, Any]], object], message: str
) -> None:
    """As somebody would write it who can compute the checksums of a checkpoint."""
    folder = stopped / "checkpoints" / "step_0000008"
    values = spoil(torch.load(folder / "state.pt", weights_only=True))
    content = io.BytesIO(values) if isinstance(values, bytes) else io.BytesIO()
    if not isinstance(values, bytes):
        torch.save(values, content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_state(
            content.getvalue(), step=8, head=load_head(folder), config=settings(),
            source="state.pt",
        )  # fmt: skip
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("precision=float16", "missing the loss scale"),
        ("optimiser.ema=0.9", "missing the count of averaged weights"),
        ("head.ffn_width=64", "exp_avg of parameter"),
    ],
)
def test_a_state_of_another_run_is_refused(stopped: Path, override: str, message: str) -> None:
    folder, config = stopped / "checkpoints" / "step_0000008", settings(override)
    shape = read_record(folder).config.model_copy(update={"ffn_width": config.head.ffn_width})
    content, head = (folder / "state.pt").read_bytes(), build_head(shape)
    with pytest.raises(CheckpointError, match=message):
        read_state(content, step=8, head=head, config=config, source="state.pt")


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(stopped: Path) -> None:
    folder, content = stopped / "checkpoints" / "step_0000008", io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(CheckpointError, match=r"bytes that unpack to 10,000,000"):
        read_state(
            content.getvalue(), step=8, head=load_head(folder), config=settings(),
            source="state.pt",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "expected a JSON object, got a list, so the run cannot be resumed"),
        (b"{", "so the run cannot be resumed"),
        (b"[" * 100_000, "nested too deep.* so the run cannot be resumed"),
        (None, "missing, so the run cannot be resumed"),
    ],
)
def test_a_run_whose_record_is_lost_is_refused(
    store: Path, stopped: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    (out / "run.json").unlink()
    if content is not None:
        (out / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        fit(store, out, resume=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("head", None, "head: required"),
        ("caches", [], "expected the data sets of 0 caches"),
        ("caches", [{"store": 3}], r"caches\.0\.store"),
        ("git", {"commit": 7}, r"git\.commit"),
        ("versions", [], r"versions: .*, got \[\]"),
    ],
)
def test_a_record_that_no_report_can_be_made_of_is_told_of_before_the_work(
    store: Path, stopped: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    record = json.loads((out / "run.json").read_text())
    record |= {key: value}
    if value is None:
        del record[key]
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=message):
        fit(store, out, resume=True, pictured=True)
    assert not (out / "head.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "expected a JSON object, got a list; expected the record of a training run"),
        (b"[" * 100_000, "nested too deep.*expected the record of a training run"),
        (b"{}", "config: required, .*expected the record of a training run"),
        (b'{"config": []}', "config: .*expected the record of a training run"),
    ],
)
def test_settings_are_taken_from_a_runs_record_alone(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_settings(str(tmp_path), ["steps=3"])


def test_damaged_validations_are_refused(tmp_path: Path) -> None:
    for line in (b"{", b"[]", b"\xff", b'{"step": "x", "top1": 0, "class_mean": 0}', b"[" * 10**5):
        (tmp_path / "validation.jsonl").write_bytes(line + b"\n")
        with pytest.raises(CheckpointError, match=r"validation\.jsonl: damaged"):
            Validator(settings().validation).keep(tmp_path, 10)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_a_finished_run_whose_head_is_damaged_is_not_called_finished(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    flip(out / "head.safetensors", 300)
    with pytest.raises(CheckpointError, match=r"its head is damaged: delete .*head\.json"):
        fit(store, out, resume=True)
    (out / "head.json").unlink()
    assert fit(store, out, resume=True).resumed == 20
    assert weights(out) == weights(whole)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_a_checkpoint_from_before_checksums_goes_on(
    store: Path, whole: Path, stopped: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    path = out / "checkpoints" / "step_0000008" / "head.json"
    values = json.loads(path.read_text())
    del values["crc32c"], values["files"]
    path.write_text(json.dumps(values | {"format": "regionspot head 1"}))
    assert fit(store, out, resume=True).resumed == 8
    assert "written before heads had checksums" in " ".join(capfd.readouterr().err.split())
    assert weights(out) == weights(whole)


def test_a_line_cut_off_by_a_kill_is_dropped(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit_until(9, store, out)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    fit(store, out, resume=True)
    assert [step for step, *_ in losses(out)] == list(range(3, STEPS + 1, 3))
