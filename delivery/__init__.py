"""What a pipeline does around ``terraform``: release, promote, judge a plan, look at what runs.

Workflows call it by ``make`` targets, and so can any other CI.
"""
