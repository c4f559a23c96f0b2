"""Speech to text without a model: decoding sound, finding speech, segments, their editing and subtitle formats."""
