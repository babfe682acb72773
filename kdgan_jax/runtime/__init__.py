"""What every room stands on: errors, files, messages, devices, processes."""
