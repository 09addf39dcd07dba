"""Answers of trained nets on images of one's own, computed as the study computes them."""
