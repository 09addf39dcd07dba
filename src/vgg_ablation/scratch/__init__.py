"""Removing resume state that nothing can reach any more."""
