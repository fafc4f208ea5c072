"""What two or more of Baton's scripts share."""
