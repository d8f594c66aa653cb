"""The exception tree. Every message says what was expected, what came, and what to do.

The command line prints a :class:`RegionSpotError` as one line and exits with code 2; any other
exception is a fault of ours and keeps its traceback.
"""

from __future__ import annotations


class RegionSpotError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(RegionSpotError, ValueError):
    """An argument or a file of the user's is not what was asked for."""


class ConfigError(InputError):
    """A configuration key is unknown or its value is not allowed."""


class AnnotationError(InputError):
    """An annotation, proposal or detection file is malformed."""


class ImageError(InputError):
    """An image is missing, unreadable or of another size than its annotation says."""


class WeightsError(InputError):
    """A weight file is missing, truncated or of another architecture."""


class DownloadError(RegionSpotError):
    """A file cannot be downloaded, or what came is not the file that was published."""


class CacheError(RegionSpotError):
    """A feature cache is missing, incomplete, or not one of ours."""


class CacheDamagedError(CacheError):
    """Stored bytes do not match their checksum."""


class FingerprintError(RegionSpotError):
    """Two things that must come from the same backbones or plan do not."""


class CheckpointError(RegionSpotError):
    """A head's checkpoint is missing, malformed or of another shape."""


class ClusterError(RegionSpotError):
    """A cluster of machines is not there, or its workers die again and again."""


class DeviceMemoryError(RegionSpotError):
    """Not even the smallest batch fits in a device's memory."""


class WorkerError(RegionSpotError):
    """A process that works for a run ended before its work did."""
