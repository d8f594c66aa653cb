"""LVIS's figures by name, and the number of detections of an image that they are measured on."""

DETECTIONS = 300
"""Largest number of scored detections of an image, the best of all classes together."""
METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf",
    "AR", "ARs", "ARm", "ARl",
)  # fmt: skip
"""Figures in the order they are shown. AR is the mean recall at 300 detections."""
