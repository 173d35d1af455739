"""Compaction: giving space back, by erasing the records of what was removed, while graphs go on.

What was removed is gone from the projections at once; its records stay until this is done, and what was removed by
whom stays in the log for ever. Every step is a short transaction, after each of which the log is whole: it can be
stopped anywhere, and done again.
"""
