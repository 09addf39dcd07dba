"""Section 3.2: posteriors of every test image by each protocol, and the errors that follow from them."""
