"""The report: every net's error beside the paper's, with what the data allow to say about the order of the nets.

`inputs` reads what the other stages wrote, `outputs` writes the report's files.
Nothing here computes with nets, so the report needs no torch and takes seconds.
"""
