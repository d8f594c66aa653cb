"""`regionspot bench extract`: extraction beside the straightforward loop, in speed and features."""
