"""The page in Chromium, for every file of this folder."""

from page_in_chromium import address, browser, opened, place

__all__ = ["address", "browser", "opened", "place"]
