"""Every change of the directory, as a function of the store and what is to be done; the command calls nothing else.

What is verified before a change, and what is worth a warning after it, is decided here once, for every way by which
changes come. Results and errors are plain: the caller words the advice.
"""
