"""Features of images as a table: one vector for each case, written, drawn and searched."""
