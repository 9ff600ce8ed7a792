"""Where images come from: layouts of folders, tables and archives, and phantoms."""
