"""The report: tables, figures and templates of what `analysis` found. Needs no torch and takes seconds."""
