"""Downloads of public data sets: listed first, checked by size, resumed."""
