"""Image files to pixels: decoding within limits, exact resizing, corruptions."""
