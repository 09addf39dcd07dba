"""Pairs of images that are nearly the same: copies that another size, encoding or a mirror hides from a checksum."""
