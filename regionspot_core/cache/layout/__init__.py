"""Shapes, types and bytes of a store, all fixed before anything is written."""
