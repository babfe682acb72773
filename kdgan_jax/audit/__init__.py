"""Finds what is wrong with folders of photos before anyone trains or tests on them."""
