"""The edge that every stage shares: settings file, terminal, files, resume state, compute device."""
