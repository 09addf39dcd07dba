"""Images: obtained as one tar, read safely, packed as uint8 pixels, split, and served as batches on the device."""
