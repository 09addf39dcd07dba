"""The programs that train the same net on the same images."""
