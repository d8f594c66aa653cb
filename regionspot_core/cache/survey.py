"""What a store should hold and what lies there, before its big files are read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from regionspot_core.cache.arrays import parse_attributes, read_array, read_attributes
from regionspot_core.cache.claims import LOCKS
from regionspot_core.cache.damage import Damage, Images
from regionspot_core.cache.markers import (
    COMPLETE,
    PLAN_FILES,
    Complete,
    FileSum,
    Marker,
    marker_key,
    read_complete,
    read_plan_files,
    summarise,
    unsealed_marker,
)
from regionspot_core.cache.plan import CachePlan, Part
from regionspot_core.cache.schema import CLASS_BANK, GROUP, PartArray, part_arrays
from regionspot_core.cache.store import Store
from regionspot_core.errors import CacheDamagedError, CacheError

_LIKE_OURS = re.compile(
    rf"(.*/)?{re.escape(GROUP)}|.*/c(/\d+)+|{re.escape(CLASS_BANK)}|parts/(\d{{6,}}|plan|complete)\.json"
)
_LEFT_BEHIND = re.compile(
    rf"(?P<key>.+?)((\.[0-9a-f]{{6}}-\d+-[0-9a-f]{{8}})?\.partial|\.__lock)|{LOCKS}/.+"
)
"""What a killed run leaves: files not yet renamed, TensorStore's locks, and ours."""


@dataclass
class Survey:
    """What was found in a store's small files, and what is to be looked for in the big ones."""

    store: Store
    keys: frozenset[str]
    """Every file there is."""
    plan_files: dict[str, FileSum]
    """The files that the plan decided; empty where the list of them is damaged."""
    plan: CachePlan | None = None
    """None where the files that say it are damaged."""
    markers: dict[int, Marker] = field(default_factory=dict)
    """By part, those that are whole."""
    unwritten: tuple[int, ...] = ()
    """Parts that no run has committed yet."""
    complete: bool = False
    """Whether the store says of itself, rightly, that it is finished."""
    damages: list[Damage] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""

    @cached_property
    def images(self) -> Images | None:
        """Their names; None where the plan is not known."""
        return Images(self.store, self.plan) if self.plan else None

    @property
    def arrays(self) -> dict[str, PartArray]:
        """The arrays that parts write."""
        return part_arrays(self.plan) if self.plan else {}

    def part(self, index: int) -> Part:
        """A part of the plan, which must be known."""
        if self.plan is None:
            raise CacheError(f"{self.store}: the plan is not known")
        return self.plan.part(index)

    def strangers(self) -> tuple[list[str], list[str]]:
        """Files that belong to nothing: what killed runs left, and what is not ours."""
        expected = self._expected()
        known = self.plan is not None and bool(self.plan_files)
        left, foreign = [], []
        for key in sorted(self.keys - expected):
            behind = _LEFT_BEHIND.fullmatch(key)
            base = behind and behind["key"]
            if behind and (base is None or base in expected or _like_ours(base, known)):
                left.append(key)
            elif not _like_ours(key, known):
                foreign.append(key)
        return left, foreign

    def _expected(self) -> set[str]:
        expected = {PLAN_FILES, COMPLETE, GROUP, *self.plan_files}
        for part in self.plan.parts() if self.plan else []:
            expected.add(marker_key(part.index))
            arrays = [a for a in self.arrays.values() if part.rows or not a.of_regions]
            expected |= {array.file(part.index) for array in arrays}
        return expected


def survey_store(store: Store) -> Survey:
    """Look at a store's markers, its list of files and what is there.

    Raises:
        CacheError: There is no store, or it is of another format.
    """
    damages: list[Damage] = []
    plan_files = _plan_files(store, damages)
    # Before the listing: a part that is being committed meanwhile is only looked at if its files
    # were there when they were listed.
    complete, markers = _complete(store, damages), {}
    plan = _plan(store, plan_files)
    contents = [] if plan is None else store.read_many([*map(marker_key, range(plan.part_count))])
    survey = Survey(store, frozenset(store.keys()), plan_files, plan, damages=damages)
    for part, content in enumerate(contents):
        if content is not None:
            markers[part] = _marker(survey, part, content)
    survey.markers = {part: marker for part, marker in markers.items() if marker is not None}
    survey.unwritten = tuple(part for part, content in enumerate(contents) if content is None)
    _compare(survey, complete)
    if not plan_files:
        survey.not_checked.append(f"the files of the plan: {PLAN_FILES} has their checksums")
    if plan is None:
        survey.not_checked.append(
            "the parts: zarr.json and region/count, which say where they lie, are damaged"
        )
    return survey


def _plan_files(store: Store, damages: list[Damage]) -> dict[str, FileSum]:
    try:
        found = read_plan_files(store)
    except CacheDamagedError:
        damages.append(Damage(PLAN_FILES, "damaged"))
        return {}
    if not found:
        content = store.read(GROUP)
        if content is None:
            read_attributes(store)  # says what is there instead of a store
        else:
            parse_attributes(store, content)  # refuses another format, which has no such file
        damages.append(Damage(PLAN_FILES, "missing"))
    return found


def _complete(store: Store, damages: list[Damage]) -> Complete | None:
    try:
        return read_complete(store)
    except CacheDamagedError:
        damages.append(Damage(COMPLETE, "damaged"))
        return None


def _plan(store: Store, plan_files: dict[str, FileSum]) -> CachePlan | None:
    """The store's plan if the files that say it are what was written."""
    needed = [GROUP, f"region/count/{GROUP}", "region/count/c/0"]
    contents = dict(zip(needed, store.read_many(needed), strict=True))
    for key, content in contents.items():
        if content is None or (plan_files and plan_files.get(key) != FileSum.of([content])):
            return None
    try:
        attributes = parse_attributes(store, contents[GROUP] or b"")
        return CachePlan.from_json(attributes["plan"], read_array(store, "region/count"))
    except (CacheDamagedError, LookupError, TypeError, ValueError):
        return None


def _marker(survey: Survey, part: int, content: bytes) -> Marker | None:
    try:
        marker = unsealed_marker(survey.store, part, content)
    except CacheDamagedError as error:
        problem = str(error).partition(f"{marker_key(part)} is ")[2].partition(";")[0]
        survey.damages.append(_whole_part(survey, part, problem))
        return None
    here = survey.part(part)
    names = {a.name for a in survey.arrays.values() if here.rows or not a.of_regions}
    if marker.files.keys() != names:
        survey.damages.append(_whole_part(survey, part, "of another plan"))
        return None
    return marker


def _compare(survey: Survey, complete: Complete | None) -> None:
    """Hold the summary of a finished store against its parts' markers."""
    if complete is None or survey.plan is None:
        return
    for part in survey.unwritten:
        survey.damages.append(_whole_part(survey, part, "missing"))
    survey.unwritten = ()
    whole = [survey.markers[part] for part in sorted(survey.markers)]
    if len(whole) < survey.plan.part_count:
        return
    survey.complete = complete == summarise(whole)
    if not survey.complete:
        survey.damages.append(Damage(COMPLETE, "of other parts than those that are there"))


def _whole_part(survey: Survey, part: int, problem: str) -> Damage:
    images = survey.images.at(list(survey.part(part).images)) if survey.images else ()
    return Damage(marker_key(part), problem, part, images)


def _like_ours(key: str, known: bool) -> bool:
    """Whether it may be a file of the store, as far as its damaged lists tell."""
    return not known and _LIKE_OURS.fullmatch(key) is not None
