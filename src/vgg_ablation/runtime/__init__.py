"""Settings, console, resume state, cost and provenance. Nothing here can change a result; no stage depends on it."""
