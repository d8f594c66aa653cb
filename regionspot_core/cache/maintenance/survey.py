"""Comparison of a store's plan with its files, before the big ones are read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from regionspot_core.cache.layout.plan import CachePlan, Part
from regionspot_core.cache.layout.schema import CLASS_BANK, GROUP, PartArray, part_arrays
from regionspot_core.cache.layout.small import read_small
from regionspot_core.cache.maintenance.damage import Damage, Images
from regionspot_core.cache.storage.arrays import (
    parse_attributes,
    parse_plan,
    problem_of_list,
    read_header,
)
from regionspot_core.cache.storage.claims import LOCKS
from regionspot_core.cache.storage.markers import (
    COMPLETE,
    NOT_OURS,
    PLAN_FILES,
    Complete,
    Marker,
    marker_key,
    read_complete,
    read_plan_files,
    summarise,
    unsealed_marker,
)
from regionspot_core.cache.storage.store import Store
from regionspot_core.errors import CacheError
from regionspot_core.support.checksums import FileSum

_LIKE_OURS = re.compile(
    rf"(.*/)?{re.escape(GROUP)}|.*/c(/\d+)+|{re.escape(CLASS_BANK)}|parts/(\d{{6,}}|plan|complete)\.json"
)
_LEFT_BEHIND = re.compile(
    rf"(?P<key>.+?)((\.[0-9a-f]{{6}}-\d+-[0-9a-f]{{8}})?\.partial|\.__lock)|{LOCKS}/\d{{6,}}\.lock"
)
"""Names of leftovers of a killed run: files not yet renamed, TensorStore's locks, and ours."""


@dataclass
class Survey:
    """Content of a store's small files, and what to expect of the big ones."""

    store: Store
    keys: frozenset[str]
    """Keys of all files."""
    plan_files: dict[str, FileSum]
    """The files that the plan decided; empty where the list of them is damaged."""
    plan: CachePlan | None = None
    """None if the files that hold it are damaged."""
    markers: dict[int, Marker] = field(default_factory=dict)
    """Undamaged markers by part."""
    unwritten: tuple[int, ...] = ()
    """Parts that no run has committed yet."""
    complete: bool = False
    """Whether the store has a summary of all its parts, and a true one."""
    damages: list[Damage] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    """Things that cannot be checked, and why."""

    @cached_property
    def images(self) -> Images | None:
        """Their names; None where the plan is not known."""
        return Images(self.store, self.plan, self.plan_files) if self.plan else None

    @property
    def known_plan(self) -> CachePlan:
        """The plan.

        Raises:
            CacheError: If it is not known.
        """
        if self.plan is None:
            raise CacheError(f"{self.store}: the plan is not known")
        return self.plan

    @property
    def arrays(self) -> dict[str, PartArray]:
        """The arrays that parts write."""
        return part_arrays(self.plan) if self.plan else {}

    def part(self, index: int) -> Part:
        """Return a part of the plan, which must be known."""
        return self.known_plan.part(index)

    def strangers(self) -> tuple[list[str], list[str]]:
        """Return the files of killed runs, and the files that are not ours."""
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
    """Read a store's markers and its list of files, and list its folder.

    Raises:
        CacheError: If there is no store, or it is of another format.
    """
    damages: list[Damage] = []
    plan_files = _plan_files(store, damages)
    _note_impossible(store, damages)
    if PLAN_FILES in {damage.key for damage in damages}:
        plan_files = {}
    plan = _plan(store, plan_files)
    # Before the listing: a part that is being committed meanwhile is only looked at if its files
    # were there when they were listed.
    complete = None if plan is None else _complete(store, plan, damages)
    keys = [] if plan is None else [marker_key(part) for part in range(plan.part_count)]
    contents = _read_each(store, keys)
    survey = Survey(store, frozenset(store.keys()), plan_files, plan, damages=damages)
    arrays = list(survey.arrays.values())
    for part, content in enumerate(contents):
        if content is not None:
            _take_marker(survey, part, content, arrays)
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
    """Return the list of the plan's files; empty if it is damaged, which is noted."""
    problem: str | None = "missing"
    files: dict[str, FileSum] = {}
    try:
        files = read_plan_files(store)
        if files:
            problem = problem_of_list(store, files)
    except CacheError as error:
        problem = _words(error, store, PLAN_FILES)
    if problem == "missing":
        content = store.read(GROUP)
        if content is None:
            read_header(store)  # says what is there instead of a store
        else:
            parse_attributes(store, content)  # refuses another format, which has no such file
    if problem:
        damages.append(Damage(PLAN_FILES, problem))
        return {}
    return files


def _plan(store: Store, plan_files: dict[str, FileSum]) -> CachePlan | None:
    """Return the store's plan; None if the files that hold it are damaged."""
    try:
        content = store.read(GROUP)
        if content is None or (plan_files and FileSum.of([content]) != plan_files.get(GROUP)):
            return None
        attributes = parse_attributes(store, content)
        return parse_plan(attributes, read_small(store, "region/count", plan_files), source=store)
    except CacheError:
        return None


def _note_impossible(store: Store, damages: list[Damage]) -> None:
    """Note a file of metadata whose content cannot be; checksums are checked elsewhere."""
    try:
        read_header(store)
    except CacheError as error:
        key, how, _ = str(error).removeprefix(f"{store}: ").partition(f" is {NOT_OURS}")
        if how and key not in {damage.key for damage in damages}:
            damages.append(Damage(key, _words(error, store, key)))


def _complete(store: Store, plan: CachePlan, damages: list[Damage]) -> Complete | None:
    try:
        return read_complete(store, plan)
    except CacheError as error:
        damages.append(Damage(COMPLETE, _words(error, store, COMPLETE)))
        return None


def _read_each(store: Store, keys: list[str]) -> list[bytes | CacheError | None]:
    """Return each file's content, or the error of reading it."""
    try:
        return [*store.read_many(keys)]
    except CacheError:
        return [_read_or_error(store, key) for key in keys]


def _read_or_error(store: Store, key: str) -> bytes | CacheError | None:
    try:
        return store.read(key)
    except CacheError as error:
        return error


def _take_marker(
    survey: Survey, part: int, content: bytes | CacheError, arrays: list[PartArray]
) -> None:
    """Keep a part's marker, or note the damage to it."""
    try:
        if isinstance(content, CacheError):
            raise content
        survey.markers[part] = unsealed_marker(
            survey.store, survey.known_plan, part, content, arrays
        )
    except CacheError as error:
        problem = _words(error, survey.store, marker_key(part))
        survey.damages.append(_whole_part(survey, part, problem))


def _words(error: CacheError, store: Store, key: str) -> str:
    """Return an error's problem, without the file's name and without advice."""
    text = str(error).removeprefix(f"{store}: {key}").removeprefix(": ").removeprefix(" is ")
    return text.partition(";")[0]


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
    """Return whether a key may be of the store, whose lists are damaged."""
    return not known and _LIKE_OURS.fullmatch(key) is not None
