"""A study's work on all cores or GPUs, ahead of DVC: `python -m vgg_ablation.parallel`."""
