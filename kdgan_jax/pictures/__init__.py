"""Pictures: decoding and encoding, bit depths, colour, bicubic interpolation."""
