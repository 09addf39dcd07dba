"""One training run (section 3.1), and the search for its learning rate and weight decay, which is many of them."""
