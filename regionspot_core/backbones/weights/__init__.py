"""Published weights: their addresses, download and checksums."""
