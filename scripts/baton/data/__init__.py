"""Data: images, labels, and the folders of links."""
