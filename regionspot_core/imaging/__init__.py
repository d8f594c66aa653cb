"""Boxes, prompts, and images with their resizes."""
