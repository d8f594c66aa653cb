"""Work on finished stores: verify, repair, merge, export."""
