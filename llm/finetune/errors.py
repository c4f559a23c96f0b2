"""What can go wrong in fine-tuning, each with a sentence of its own."""

from __future__ import annotations

from llm.errors import ModelError


class NoHeldOut(ModelError):
    code, status = "no_held_out", 409
    sentence = "{run} has no held-out questions to ask. Give at least ten rows, so that some can be held out."


class NothingToTrain(ModelError):
    code, status = "nothing_to_train", 409
    sentence = (
        "No row of {run} has a token to train: rows {rows} are empty or longer than {longest} tokens. Raise the "
        "longest row, or cut rows."
    )


class TrainingDiverged(ModelError):
    code, status = "training_diverged", 500
    sentence = (
        "At step {step} the loss was no number any more, at a learning rate of {rate:g}. Take a lower one, more rows a "
        "step, or float32; the last checkpoint stays."
    )


class CannotTune(ModelError):
    code, status = "cannot_tune", 409
    sentence = "{model} cannot be tuned like this: {detail}."


class TrainingOutOfMemory(ModelError):
    code, status = "training_out_of_memory", 507
    sentence = (
        "Memory ran out at step {step}, with up to {rows} rows of at most {longest} tokens at once. Take {fewer} rows "
        "at once and {passes} passes a step, which learns the same; or switch on checkpointing; or bound rows at "
        "{shorter} tokens. What was learnt up to step {kept} is kept."
    )


class CheckpointFailed(ModelError):
    code, status = "checkpoint_failed", 507
    sentence = (
        "The checkpoint after step {step} could not be written to {path} ({detail}). Make room there and go on: what "
        "was learnt up to step {kept} is kept."
    )
