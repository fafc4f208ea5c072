"""The parts of new_study: what the columns of a table are, and the text of a study's first config."""
