"""The machine that models run on: processor, memory, graphics cards, and what limits the process."""
