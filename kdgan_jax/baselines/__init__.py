"""Methods that networks are compared with: interpolation, and a random forest."""
