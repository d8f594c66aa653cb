"""Figures of LVIS's and COCO's rules by name, and the numbers of detections that count."""

DETECTIONS = 300
"""Largest number of scored detections of an image, the best of all classes together."""
COCO_DETECTIONS = 100
"""Largest number of scored detections of a class in an image, by COCO's rules."""
METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf",
    "AR", "ARs", "ARm", "ARl",
)  # fmt: skip
"""Figures in the order they are shown. AR is the mean recall at 300 detections."""
COCO_METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
"""COCO's figures in pycocotools' order; AR10 is the mean recall at 10
detections of a class in each image."""
