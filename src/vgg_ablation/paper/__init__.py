"""Published facts."""
