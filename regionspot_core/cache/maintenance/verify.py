"""Reading every byte of a store and comparing it with what was written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from regionspot_core.cache.layout.schema import PartArray
from regionspot_core.cache.maintenance.damage import Damage, damage_in_shard, images_of
from regionspot_core.cache.maintenance.survey import Survey
from regionspot_core.cache.storage.markers import COMPLETE
from regionspot_core.errors import CacheError
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.prefetch import map_ahead

WORKERS = 2
"""Files read at once; a URL's are in memory whole."""
CHANGED = "changed"


@dataclass(frozen=True)
class Verification:
    """Result of reading every byte of a store."""

    store: str
    files: int
    """Number of files read."""
    bytes: int
    parts: int | None
    """None where the plan is damaged."""
    unwritten: tuple[int, ...]
    """Parts that no run has committed yet."""
    complete: bool
    """Whether all parts are committed, and the store says so."""
    damages: tuple[Damage, ...]
    leftovers: tuple[str, ...]
    """Files that a killed run left, or one that is at work now."""
    foreign: tuple[str, ...]
    """Files that are nothing of ours."""
    not_checked: tuple[str, ...]
    """Things that cannot be checked because of damage elsewhere."""

    @property
    def undamaged(self) -> bool:
        """Whether every file is undamaged, and no other file is in the store."""
        return not (self.damages or self.leftovers or self.foreign or self.not_checked)

    @property
    def whole(self) -> bool:
        """Whether the store is finished as well."""
        return self.undamaged and self.complete

    @property
    def repairable(self) -> bool:
        """Whether there is anything that a repair would do."""
        unfinished = self.parts is not None and not (self.unwritten or self.complete)
        return bool(self.damages or self.leftovers or unfinished)

    @property
    def damaged_parts(self) -> list[int]:
        """The parts at fault, in order."""
        return sorted({damage.part for damage in self.damages if damage.part is not None})

    @property
    def plan_is_damaged(self) -> bool:
        """Whether a file is at fault that the plan decides."""
        return any(d.part is None and d.key != COMPLETE for d in self.damages)


@dataclass(frozen=True)
class Check:
    """A file to read."""

    key: str
    expected: FileSum
    part: int | None = None
    array: PartArray | None = None


def checks(survey: Survey, parts: Collection[int] | None = None) -> list[Check]:
    """Return the files to read: all of the plan's, and those of ``parts``; None for all parts."""
    checks = [Check(key, expected) for key, expected in survey.plan_files.items()]
    arrays = survey.arrays
    for part, marker in survey.markers.items():
        if parts is None or part in parts:
            checks += [
                Check(arrays[name].file(part), expected, part, arrays[name])
                for name, expected in marker.files.items()
            ]
    return checks


def verify(survey: Survey, todo: list[Check], on_bytes: Callable[[int], None]) -> Verification:
    """Read the files ``todo`` and return all problems of the store.

    Args:
        survey: Content of its small files.
        todo: Files to read.
        on_bytes: Called with how many more bytes were read.
    """
    damages = list(survey.damages)
    for check, problem in zip(
        todo, map_ahead(lambda check: _problem(survey, check), todo, workers=WORKERS), strict=True
    ):
        if problem:
            damages.append(_described(survey, check, problem))
        on_bytes(check.expected.size)
    leftovers, foreign = survey.strangers()
    return Verification(
        store=str(survey.store),
        files=len(todo) + len(survey.markers),
        bytes=sum(check.expected.size for check in todo),
        parts=survey.plan.part_count if survey.plan else None,
        unwritten=survey.unwritten,
        complete=survey.complete,
        damages=tuple(damages),
        leftovers=tuple(leftovers),
        foreign=tuple(foreign),
        not_checked=tuple(survey.not_checked),
    )


def _problem(survey: Survey, check: Check) -> str | None:
    """Return the problem of a file; None if every byte is what was written."""
    if check.key not in survey.keys:
        return "missing"
    try:
        actual = FileSum.of(survey.store.blocks(check.key))
    except CacheError as error:
        return str(error).removeprefix(f"{survey.store}: {check.key}: ").partition(";")[0]
    if actual.size != check.expected.size:
        return f"{check.expected.size:,} bytes expected, {actual.size:,} found"
    return None if actual == check.expected else CHANGED


def _described(survey: Survey, check: Check, problem: str) -> Damage:
    """Return the damage to a file, with the images it hits where it is a part's."""
    if check.part is None or check.array is None or survey.plan is None or survey.images is None:
        return Damage(check.key, problem)
    part = survey.part(check.part)
    if problem == CHANGED:
        sums = survey.markers[part.index].chunks.get(check.array.name)
        details, hit = damage_in_shard(survey.store, survey.plan, check.array, part, sums)
        problem = f"{problem}: {details}"
    else:
        hit = images_of(survey.plan, check.array, part, None)
    return Damage(check.key, problem, check.part, survey.images.at(hit))
