"""What every run does before its first step: the data opened, checked, divided and prepared."""
