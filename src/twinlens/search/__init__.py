"""Search: an index of images, and queries by words and by images."""
