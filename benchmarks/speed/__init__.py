"""How fast this is, against the article it starts from, good practice with torchvision, and timm: `make bench`."""
