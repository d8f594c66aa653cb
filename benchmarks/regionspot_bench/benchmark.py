"""Base of every benchmark: settings, figures, requirements, and their JSON and tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from regionspot_bench.workplace import require_places, workplace
from regionspot_core import __version__
from regionspot_core.config import Config
from regionspot_core.support.files import write_json
from regionspot_core.support.options import Flag

if TYPE_CHECKING:
    from rich.table import Table

    from regionspot_bench.measure import Requirement


class BenchConfig(Config):
    """Settings of every benchmark."""

    dir: Annotated[Path | None, Flag(metavar="DIR", default="the system's for temporary files")] = (
        None
    )
    """Folder on the disk to measure: data are generated in it, and removed after."""
    quick: Annotated[bool, Flag()] = False
    """Measure less, in under a minute."""
    json_file: Annotated[Path | None, Flag(name="--json", metavar="FILE")] = None
    """JSON file to write the figures to."""


class Benchmark(ABC):
    """The figures of a whole run, and the bounds that they must keep."""

    quick: bool

    @property
    @abstractmethod
    def figures(self) -> dict[str, object]:
        """All figures by the keys of the JSON."""

    @property
    @abstractmethod
    def requirements(self) -> list[Requirement]:
        """All bounds, in the order they are shown."""

    @abstractmethod
    def figure_tables(self) -> list[Table]:
        """Return the figures for people, at 80 columns."""

    @property
    def all_met(self) -> bool:
        """Whether no requirement is missed."""
        return all(each.met for each in self.requirements)

    def to_json(self) -> dict[str, object]:
        """Return the figures, and what they were measured with."""
        about = {"version": __version__, "quick": self.quick, "all_met": self.all_met}
        return about | self.figures

    def tables(self) -> list[Table]:
        """Return all tables: the figures', and the requirements'."""
        from regionspot_bench.measure import requirements_table

        return [*self.figure_tables(), requirements_table(self.requirements)]


Settings = TypeVar("Settings", bound=BenchConfig)


def run_benchmark(config: Settings, measure: Callable[[Settings, Path], Benchmark]) -> Benchmark:
    """Measure in a new folder that is removed after, and write the JSON that is asked for.

    Args:
        config: The settings.
        measure: Measures, given the settings and the folder.

    Raises:
        InputError: If ``dir`` is no folder to write in, or ``json_file`` no place for a file.
    """
    require_places(config.dir, config.json_file)
    with workplace(config.dir) as folder:
        report = measure(config, folder)
    if config.json_file is not None:
        write_json(config.json_file, report.to_json())
    return report
