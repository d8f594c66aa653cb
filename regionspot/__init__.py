"""RegionSpot: name any region of an image, in three stages on cached features."""
