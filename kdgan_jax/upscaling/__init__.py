"""Upscaling many pictures: which, under which names, and all stages at once."""
