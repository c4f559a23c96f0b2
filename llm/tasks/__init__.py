"""Jobs that models are trained for, one record each."""
