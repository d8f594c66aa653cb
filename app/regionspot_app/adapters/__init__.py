"""Other programs' protocols, each a thin layer over the workbench."""
