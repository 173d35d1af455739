"""Looking into a log: threads, their history, states, differences, where the bytes are."""
