"""From a source of images to packed pixels, an index, splits and duplicates."""
