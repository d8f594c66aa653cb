"""What the app does with pictures, prompts and names, without a web."""
