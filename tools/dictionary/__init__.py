"""Makes the dictionaries that small records are compressed with, from synthetic messages and state alone.

A folder of the tools, because it drives the saver to make the samples, and the log may not import the saver.
"""
