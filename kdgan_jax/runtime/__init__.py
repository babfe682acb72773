"""The ground floor: errors, files, messages, devices, processes."""
