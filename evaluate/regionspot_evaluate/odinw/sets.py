"""The data sets of ODinW, and where they lie below one folder.

A set's folder is as ODinW is published: `Aquarium/Aquarium Combined.v2-raw-1024.coco/valid/`. Of
three names there are two variants each, in folders of their own. The lists are those of the
benchmark (Li et al. 2022, ELEVATER, arXiv 2204.08790; 13 of them by Li et al. 2022, GLIP,
arXiv 2112.03857).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regionspot_core.datasets.odinw import PREFERRED
from regionspot_core.errors import InputError
from regionspot_core.support.progress import say

ODINW_13 = (
    "AerialMaritimeDrone/large", "Aquarium", "CottontailRabbits", "EgoHands/generic",
    "NorthAmericaMushrooms", "Packages", "PascalVOC", "pistols", "pothole", "Raccoon",
    "ShellfishOpenImages", "thermalDogsAndPeople", "VehiclesOpenImages",
)  # fmt: skip
ODINW_35 = tuple(sorted((
    *ODINW_13, "AerialMaritimeDrone/tiled", "AmericanSignLanguageLetters", "BCCD",
    "boggleBoards", "brackishUnderwater", "ChessPieces", "dice", "DroneControl",
    "EgoHands/specific", "HardHatWorkers", "MaskWearing", "MountainDewCommercial",
    "openPoetryVision", "OxfordPets/by-breed", "OxfordPets/by-species", "PKLot", "plantdoc",
    "selfdrivingCar", "ThermalCheetah", "UnoCards", "websiteScreenshots", "WildfireSmoke",
), key=str.lower))  # fmt: skip
BENCHMARKS = {"ODinW-13": ODINW_13, "ODinW-35": ODINW_35}
_VARIANTS = {name.split("/")[0] for name in ODINW_35 if "/" in name}
SPLITS = {"valid": ("valid", "val"), "test": ("test",), "train": ("train",)}
"""Names of a split, in folders and files."""


@dataclass(frozen=True)
class OdinwSet:
    """One data set, of one split."""

    name: str
    """Its folder below the root: ``Aquarium``, ``EgoHands/generic``."""
    annotations: Path

    @property
    def images(self) -> Path:
        """Folder of the images, which lie beside the annotations."""
        return self.annotations.parent


def find_sets(root: Path, split: str) -> list[OdinwSet]:
    """Return the data sets below a folder, ODinW's and others, by name.

    Args:
        root: Folder with a folder for each set.
        split: Key of ``SPLITS``.

    Raises:
        InputError: If there is none, or a set has several annotation files of the split.
    """
    folders = [each for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")]
    places = {
        "/".join(folder.relative_to(root).parts): folder
        for top in folders
        for folder in (
            [each for each in top.iterdir() if each.is_dir()] if top.name in _VARIANTS else [top]
        )
    }
    found, left_out = [], []
    for name in sorted(places, key=str.lower):
        file = _annotation_file(places[name], split)
        if file is None:
            left_out.append(name)
        else:
            found.append(OdinwSet(name, file))
    if not found:
        raise InputError(
            f"--root {root}: expected folders of data sets, as Aquarium/…/{split}/{PREFERRED[0]}; "
            f"found none"
        )
    if left_out:
        say(
            f"left out, for want of {split}/{PREFERRED[0]} or {PREFERRED[1]}: {', '.join(left_out)}"
        )
    return found


def missing_sets(found: list[OdinwSet], benchmark: str) -> list[str]:
    """Return the names of a benchmark's sets that are not among those found."""
    names = {each.name for each in found}
    return [name for name in BENCHMARKS[benchmark] if name not in names]


def _annotation_file(folder: Path, split: str) -> Path | None:
    """Return the annotations of a set's split: ODinW's own file, or else Roboflow's."""
    for name in PREFERRED:
        places = {
            place
            for word in SPLITS[split]
            for pattern in (f"{word}/{name}", f"{word}_{name.lstrip('_')}")
            for place in folder.rglob(pattern)
        }
        if len(places) > 1:
            first = ", ".join(str(each.relative_to(folder)) for each in sorted(places)[:3])
            raise InputError(
                f"{folder}: expected one annotation file of the split {split}, got {len(places)} "
                f"({first}); keep one of them below the set's folder"
            )
        if places:
            return places.pop()
    return None
