"""The paper's learning rate and weight decay (section 3.1). Code of the nets depends on this alone of the paper."""

LEARNING_RATE = 1e-2
"""At the start of training."""

WEIGHT_DECAY = 5e-4
"""Factor of the L2 penalty."""
