"""What can be wrong with the plan: the settings, and the machines that are to follow them."""

from kyara_kedro.training.preflight.flight import Flight


def check_processes(flight: Flight) -> str | None:
    """As many processes must have come as were asked for; a launcher can run one without a word."""
    found, asked = flight.trainer.accelerator.num_processes, flight.job.launcher.world_size
    if found == asked:
        return None
    return f"{asked} processes were asked for, but {found} came; start them with torchrun"


def check_warmup(flight: Flight) -> str | None:
    """The learning rate should reach its peak."""
    warmup, steps = flight.trainer.args.get_warmup_steps(flight.steps), flight.steps
    if warmup < steps:
        return None
    return f"warmup_steps is {warmup}, but there are {steps} steps; lower it"


def check_step(flight: Flight) -> str | None:
    """An optimiser step should not take a row twice."""
    args, rows = flight.trainer.args, round(flight.job.data.rows / flight.rows_a_sequence)
    step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    if step <= rows:
        return None
    return f"a step takes {step} sequences, but there are {rows}; lower accumulation or batch_size"


def check_memory(flight: Flight) -> str | None:
    """What the stage needs should be there; it is calculated, so it only warns."""
    needed, there = flight.cost.total_gb, flight.memory_gb
    if needed <= there:
        return None
    return (
        f"about {needed:.1f} GB are needed, {there:.1f} GB are there; set "
        "machine.activation_checkpointing: true, lower batch_size, or set peft.method: lora"
    )
