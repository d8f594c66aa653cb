"""Data sets as they lie on disk, read to one typed record."""

from regionspot_core.datasets.reading import read_annotations, read_vocabulary
from regionspot_core.datasets.record import AnnotationSet

__all__ = ["AnnotationSet", "read_annotations", "read_vocabulary"]
