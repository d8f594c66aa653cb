"""Data sets as they lie on disk, read to one typed table."""

from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.reading import (
    FORMATS,
    read_annotations,
    read_table,
    read_vocabulary,
    register_format,
)
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.truth import Truth

__all__ = [
    "FORMATS",
    "AnnotationSet",
    "AnnotationTable",
    "DatasetFormat",
    "Truth",
    "read_annotations",
    "read_table",
    "read_vocabulary",
    "register_format",
]
