"""Loss, optimiser, and the step that a head takes."""
