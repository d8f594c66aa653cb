"""Data sets as they lie on disk, read to one typed record."""

from regionspot_core.datasets.annotations import AnnotationSet, read_annotations, read_vocabulary

__all__ = ["AnnotationSet", "read_annotations", "read_vocabulary"]
