"""Proving that nobody altered a log: verification, anchors and their signatures."""
