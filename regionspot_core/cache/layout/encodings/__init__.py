"""Encodings: how a store keeps float16 tokens. Nothing heavy is imported here."""
