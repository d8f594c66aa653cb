"""Whether a run can use a data set, found out before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from regionspot_core.datasets.record import NOT_READABLE, AnnotationSet
from regionspot_core.errors import AnnotationError, ImageError, InputError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted

SAMPLE = 32
"""Images whose sizes are looked at, of all over the data set."""
FEWEST = 3
"""Images of another size from which they are surely others."""
SHOWN = 3
"""Files that are named as examples."""


def require_usable(annotations: AnnotationSet, images: ImageSource, *, strict: bool) -> None:
    """Say how many images are missing, and refuse a data set that a run could not use.

    Args:
        annotations: The data set.
        images: Its images.
        strict: Whether to refuse a data set of which a single image is missing.

    Raises:
        InputError: If no image is there, or one is missing and ``strict``.
        AnnotationError: If there are annotations and all of them are left out.
    """
    require_regions(annotations)
    missing = [name for name in annotations.image_file if not images.contains(name)]
    if len(missing) == len(annotations):
        images.require(annotations.image_file)
    _require_sizes(annotations, images, frozenset(missing))
    unreadable = annotations.dropped.get(NOT_READABLE, 0)
    if not missing and not unreadable:
        return
    total = len(annotations) + unreadable
    examples = f" ({examples_of(missing)})" if missing else ""
    found = (
        f"--images {images.location}: {len(missing) + unreadable:,} of {counted(total, 'image')} "
        f"{'is' if len(missing) + unreadable == 1 else 'are'} missing{examples}"
    )
    if strict:
        raise InputError(f"{found}; leave out --strict to go on with the others")
    say(f"{found}; going on with the others")


def _require_sizes(
    annotations: AnnotationSet, images: ImageSource, missing: frozenset[str]
) -> None:
    """Refuse images of which a sample all have other sizes than annotated: surely others."""
    present = [place for place, name in enumerate(annotations.image_file) if name not in missing]
    compared, problem = 0, ""
    for place in present[:: max(1, len(present) // SAMPLE)]:
        name, size = annotations.image_file[place], annotations.size(place)
        try:
            found = images.size(name)
        except ImageError:
            continue
        if found in (size, size[::-1]):  # a picture may be turned by its orientation
            return
        compared += 1
        problem = problem or (
            f"{name} is {found[1]} × {found[0]} pixels, its annotation says {size[1]} × {size[0]}"
        )
    if compared >= FEWEST:
        raise InputError(
            f"--images {images.location}: other images with the same names? {problem}, and none "
            f"of {compared} looked at is of its annotated size; give the annotations' own images"
        )


def require_regions(annotations: AnnotationSet) -> None:
    """Refuse annotations of which none is left, as where a tool marked every one as a crowd.

    Raises:
        AnnotationError: If there are annotations and all of them are left out.
    """
    reasons = {
        reason: count
        for reason, count in annotations.dropped.items()
        if count and reason != NOT_READABLE
    }
    if reasons and not len(annotations.box):
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        advice = "; set iscrowd to 0 where an annotation is of one object, not of a group"
        raise AnnotationError(
            f"{annotations.path}: expected regions, got none: all annotations are left out "
            f"({counts}){advice if 'crowd' in reasons else ''}"
        )


def examples_of(names: Sequence[str]) -> str:
    """Return the first few of some files' names, for a message."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
