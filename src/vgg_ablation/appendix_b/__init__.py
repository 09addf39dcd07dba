"""Appendix B: features of frozen nets, a linear classifier, and Table 11. A pipeline of its own (appendix_b/)."""
