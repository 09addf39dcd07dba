"""The six nets of Table 1: their configurations and sizes, their settings, the network and its dense form."""
