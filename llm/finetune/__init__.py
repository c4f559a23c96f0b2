"""Fine-tuning: rows of data, what of them is trained, the run and its folder, adapters that come of it."""
