"""Tools for the development of this package. They are not installed with it."""
