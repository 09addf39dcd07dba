"""The ways to train the same net on the same images that are compared."""
