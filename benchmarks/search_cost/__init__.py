"""What the hyper-parameter search buys: training images until a dense grid's best is all but found."""
