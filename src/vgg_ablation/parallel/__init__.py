"""A study's work on all cores, GPUs or machines, ahead of DVC: `python -m vgg_ablation.parallel`."""
