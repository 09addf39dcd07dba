"""The depth ablation of the VGG paper on Caltech-256."""
