"""The story of a verification: read every byte of a store and say what is wrong."""

from __future__ import annotations

from collections.abc import Collection

from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.survey import survey_store
from regionspot_core.cache.maintenance.verify import Verification, checks, verify
from regionspot_core.cache.storage.store import open_store
from regionspot_core.support.progress import BYTES, progress_line


def verify_store(location: Location, parts: Collection[int] | None = None) -> Verification:
    """Read every byte of a store, or of some of its parts, and say what is wrong.

    Raises:
        CacheError: There is no store, or it is of another format.
    """
    survey = survey_store(open_store(location))
    todo = checks(survey, parts)
    total = sum(check.expected.size for check in todo)
    with progress_line("verify", total=total, unit=BYTES) as advance:
        return verify(survey, todo, advance)
