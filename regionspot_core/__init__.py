"""What the stages of the RegionSpot pipeline share. It imports no stage.

Shapes use one legend everywhere: B images, R regions, T image tokens, C CLIP width,
S SAM token width, M SAM tokens a region, D text width, K classes.
"""

__version__ = "0.1.0"
