"""YAML presets; each opens with a comment that says when to use it."""
