"""Finds what is wrong with folders of photos before anyone trains on them."""
