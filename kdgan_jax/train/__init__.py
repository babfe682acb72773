"""Training: one pure step, the loop over it, and the run that strings the phases together."""
