"""Files in an evaluation's folder: journal, records, detections."""
