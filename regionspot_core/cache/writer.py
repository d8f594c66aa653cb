"""Creating a cache from its plan and committing it part by part."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from regionspot_core.cache.layout.encoded import encoded_features
from regionspot_core.cache.layout.plan import CachePlan, Part
from regionspot_core.cache.layout.schema import (
    ATTRIBUTE,
    CLASS_BANK,
    FORMAT,
    GROUP,
    features,
    part_arrays,
    small_arrays,
)
from regionspot_core.cache.layout.shards import chunk_sums
from regionspot_core.cache.layout.small import read_small
from regionspot_core.cache.location import Location
from regionspot_core.cache.storage.arrays import (
    consolidate,
    create_array,
    create_small,
    read_attributes,
)
from regionspot_core.cache.storage.claims import claims_on
from regionspot_core.cache.storage.markers import (
    COMPLETE,
    FailedImage,
    Marker,
    marker_key,
    read_complete,
    read_marker,
    read_markers,
    read_plan_files,
    write_complete,
    write_marker,
    write_plan_files,
)
from regionspot_core.cache.storage.store import FolderStore, Store, open_store
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import CacheError
from regionspot_core.fingerprint import Fingerprint, require_equal
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.fault_points import reach
from regionspot_core.support.files import folder_written_aside, remove_left_behind
from regionspot_core.text.class_bank import ClassBank


@dataclass(frozen=True)
class PartFeatures:
    """A part's features. Rows of failed images are zeros."""

    arrays: dict[str, NDArray[Any]]
    """The part's rows of every array of ``features`` in `cache/layout/schema.py`."""
    failed: tuple[FailedImage, ...] = ()


@dataclass(frozen=True)
class StoredPart:
    """A part as it is stored. Rows of failed images are those of zeros."""

    arrays: dict[str, NDArray[Any]]
    """The part's rows of every array of ``part_arrays`` in `cache/layout/schema.py`."""
    failed: tuple[FailedImage, ...] = ()


class CacheWriter:
    """A store being filled. Several processes may fill different parts of one store."""

    def __init__(self, location: Location | Store, plan: CachePlan) -> None:
        self.store = open_store(location)
        if isinstance(self.store, FolderStore):
            remove_left_behind(self.store.folder)
        self.plan = plan
        self._claims = claims_on(self.store)
        self._features = features(plan)
        self._arrays = part_arrays(plan)

    @classmethod
    def open_or_create(
        cls,
        location: Location | Store,
        *,
        plan: CachePlan,
        annotations: AnnotationSet,
        make_bank: Callable[[], ClassBank],
        fingerprint: Fingerprint,
        image_bytes: Callable[[], NDArray[np.int64]] | None = None,
    ) -> CacheWriter:
        """Create the store, or open the one there if it was planned the same way.

        Args:
            location: The folder or URL to create or go on with.
            plan: Where everything goes.
            annotations: Images and boxes.
            make_bank: Embeds the vocabulary; called only for a new store, since it is not cheap.
            fingerprint: What the features are made from.
            image_bytes: Gives the size of each image's file, -1 where unknown; called only for a
                new store.

        Raises:
            FingerprintError: If the store there was planned otherwise; the fields are named.
            CacheError: If what is there is not a feature cache, or it cannot be written.
        """
        store = open_store(location)
        if store.read(GROUP) is None:
            with claims_on(store).whole():
                if store.read(GROUP) is None:
                    sizes = image_bytes() if image_bytes else np.full(len(annotations), -1)
                    _create(store, plan, annotations, sizes, make_bank(), fingerprint)
        require_same_origin(store, read_attributes(store), plan, fingerprint)
        return cls(store, plan)

    @cached_property
    def image_bytes(self) -> NDArray[np.int64]:
        """(I,) size of each image's file when the store was created; -1 where unknown."""
        return read_small(self.store, "image/bytes", read_plan_files(self.store))

    def pending(self) -> list[Part]:
        """Return the parts that are not committed, in order."""
        markers = read_markers(self.store, self.plan)
        parts = zip(self.plan.parts(), markers, strict=True)
        missing = [part for part, marker in parts if marker is None]
        if missing:
            self.store.delete(COMPLETE)
        return missing

    def is_committed(self, part: Part) -> bool:
        """Return whether the part is committed."""
        return read_marker(self.store, self.plan, part.index) is not None

    def claim(self, part: Part) -> AbstractContextManager[bool]:
        """Try to hold a part against other runs, and yield whether it is held.

        Check then whether the part is committed: another run may just have done so.
        """
        return self._claims.part(part.index)

    def write(self, part: Part, given: PartFeatures) -> Marker:
        """Encode a part's features, write them and commit the part.

        Raises:
            CacheError: If the arrays are not of the part's shape, or cannot be written.
        """
        wanted = {each.name: (each.trailing, each.dtype) for each in self._features.values()}
        self._require_shapes(part, given.arrays, wanted)
        return self.write_stored(
            part, StoredPart(encoded_features(self.plan, given.arrays), given.failed)
        )

    def write_stored(self, part: Part, given: StoredPart) -> Marker:
        """Write a part whose features are encoded, and commit it.

        Raises:
            CacheError: If the arrays are not of the part's shape, or cannot be written.
        """
        reach("write part", part.index)
        wanted = {each.name: (each.shape[1:], each.dtype) for each in self._arrays.values()}
        self._require_shapes(part, given.arrays, wanted)
        contents = {name: self._arrays[name].pieces(rows) for name, rows in given.arrays.items()}
        files = {name: pieces for name, pieces in contents.items() if pieces is not None}
        self.store.write_many(
            {self._arrays[name].file(part.index): pieces for name, pieces in files.items()}
        )
        lost = {failure.position for failure in given.failed}
        marker = Marker(
            part=part.index,
            images=len(part.images) - len(lost),
            regions=part.rows - int(sum(self.plan.region_count[position] for position in lost)),
            failed=given.failed,
            files={name: FileSum.of(pieces) for name, pieces in files.items()},
            chunks={name: chunk_sums(pieces) for name, pieces in files.items()},
        )
        write_marker(self.store, marker)
        reach("wrote part", part.index)
        return marker

    def uncommit(self, parts: Iterable[int]) -> None:
        """Take parts' commitment back, and with it the store's: the next run does them again."""
        self.store.delete(COMPLETE)
        for part in parts:
            self.store.delete(marker_key(part))

    def failed_parts(self) -> list[int]:
        """Return the committed parts with images that could not be read."""
        markers = read_markers(self.store, self.plan)
        return [marker.part for marker in markers if marker is not None and marker.failed]

    def finish(self) -> bool:
        """Complete the store if every part is committed, and return whether that is so."""
        if read_complete(self.store, self.plan) is None:
            with self._claims.whole():
                if read_complete(self.store, self.plan) is None and not write_complete(
                    self.store, self.plan
                ):
                    return False
        self._claims.clean_up()
        return True

    def _require_shapes(
        self,
        part: Part,
        given: dict[str, NDArray[Any]],
        wanted: dict[str, tuple[tuple[int, ...], str]],
    ) -> None:
        if given.keys() != wanted.keys():
            raise CacheError(
                f"part {part.index}: expected the arrays {', '.join(wanted)}, "
                f"got {', '.join(given)}"
            )
        for name, (trailing, dtype) in wanted.items():
            rows = part.rows if self._arrays[name].of_regions else len(part.images)
            array = given[name]
            if array.shape != (rows, *trailing) or array.dtype != dtype:
                raise CacheError(
                    f"part {part.index}: {name} must be {dtype} {(rows, *trailing)}, got "
                    f"{array.dtype} {array.shape}"
                )


def require_same_origin(
    store: Store, attributes: dict[str, Any], plan: CachePlan, fingerprint: Fingerprint
) -> None:
    """Refuse to go on with a store that was planned otherwise.

    Raises:
        FingerprintError: If the plan or the fingerprint differs; the fields are named.
    """
    require_equal(
        {"fingerprint": fingerprint, "plan": plan.to_json()},
        {"fingerprint": attributes["fingerprint"], "plan": attributes["plan"]},
        what=f"{store} was made otherwise than this run would",
        advice="Choose another --out, or run with the options the store was made with",
    )


def _create(
    store: Store,
    plan: CachePlan,
    annotations: AnnotationSet,
    image_bytes: NDArray[np.int64],
    bank: ClassBank,
    fingerprint: Fingerprint,
) -> None:
    """Build the store aside, so that a store that exists is a whole one."""
    with created_aside(store) as folder:
        build_plan_files(folder, plan, annotations, image_bytes, bank, fingerprint)
        reach("built store", plan.part_count)


def build_plan_files(
    folder: Path,
    plan: CachePlan,
    annotations: AnnotationSet,
    image_bytes: NDArray[np.int64],
    bank: ClassBank,
    fingerprint: Fingerprint,
) -> None:
    """Write all files that the plan decides, and their sums; the same input, the same bytes."""
    group = zarr.create_group(str(folder), zarr_format=3)
    group.attrs[ATTRIBUTE] = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "plan": plan.to_json(),
        "vocabulary": annotations.vocabulary.to_json(),
    }
    for array in part_arrays(plan).values():
        create_array(group, array)
    for name, values, fill in small_arrays(plan, annotations, image_bytes):
        create_small(group, name, values, fill)
    consolidate(folder)
    # After the metadata is consolidated: zarr-python would warn of files that are no nodes.
    bank.save(folder / CLASS_BANK)
    built = FolderStore(folder)
    sums = {key: FileSum.of(built.blocks(key)) for key in sorted(built.keys())}
    write_plan_files(built, sums)


@contextmanager
def created_aside(store: Store) -> Iterator[Path]:
    """Yield a folder to build in; in the end it takes the store's place or is uploaded."""
    if not isinstance(store, FolderStore):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            _upload(FolderStore(Path(folder)), store)
        return
    if store.folder.exists():
        read_attributes(store)  # says what is wrong with it
    try:
        with folder_written_aside(store.folder) as built:
            yield built
    except OSError as error:
        raise CacheError(f"{store}: the store cannot be created: {reason_of(error)}") from None


def _upload(built: FolderStore, store: Store) -> None:
    """Put a store that was built here where nothing can be claimed, unless one is there by now.

    Raises:
        CacheError: If another run made the store at the same moment, with other files.
    """
    if store.read(GROUP) is not None:
        return
    keys = sorted(built.keys(), key=lambda key: key == GROUP)
    for key in keys:
        store.write(key, [built.read(key) or b""])
    reach("uploaded store", len(keys))
    mixed = [key for key in sorted(keys) if store.read(key) != built.read(key)]
    if mixed:
        raise CacheError(
            f"{store}: another run made the store at the same moment, on another kind of machine, "
            f"and its {mixed[0]} differs; delete the store and let one run make it"
        )
