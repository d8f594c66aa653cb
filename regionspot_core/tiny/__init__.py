"""The embedded tiny world: a procedural long-tailed data set and frozen SAM and CLIP models for it.

Nothing here needs a download. `names`, `scenes` and `world` import neither torch nor a backbone
library.
"""
