"""Average precision of a results file: LVIS's by two protocols, and COCO's."""
