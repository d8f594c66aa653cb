"""The frozen models: protocols, a registry, SAM, CLIP. Nothing heavy is imported here."""
