"""Splitting of work: shares, processes, torchrun, Ray."""
