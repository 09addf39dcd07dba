"""The nets of Table 1: configurations and sizes, the network, its dense form, its weights as files."""
