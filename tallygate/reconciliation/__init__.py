"""Compares what is sealed and sent with every witness there is, repairs what is safe, and tells the rest."""
