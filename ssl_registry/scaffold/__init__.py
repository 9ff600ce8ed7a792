"""A new plugin: from a name to a package that can be installed, tested and published."""
