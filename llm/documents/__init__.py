"""Documents of every kind as pages of blocks, and their pieces for searching."""
