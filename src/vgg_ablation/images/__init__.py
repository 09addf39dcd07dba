"""Packed images, read back and served as batches on the device."""
