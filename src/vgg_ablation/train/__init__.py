"""One training run (section 3.1), and the search for its hyper-parameters, which is many of them."""
