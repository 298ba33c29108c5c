"""Federations, networks and numbers of other shapes: an algorithm works with them, or says why not."""

from __future__ import annotations

from fedbench.errors import UserError
from fedbench.testing.aggregation import in_any_order
from fedbench.testing.findings import Broken, raised, rule
from fedbench.testing.laboratory import Scenario
from fedbench.testing.subject import Subject, completes


@rule("batch-of-one", "do not squeeze() a batch of one away, nor normalise over the batch alone.")
def batch_of_one(subject: Subject) -> str:
    """Batches of a single sample work."""
    return completes(subject.run(Scenario(batch_size=1, rounds=2)), "batches of one sample")


@rule("clients", "take all clients, len(self.setup.clients) of them, and count nothing on your fingers.")
def clients(subject: Subject) -> str:
    """Two, four and five clients work, in any order, and several local epochs."""
    for number in (2, 4, 5):
        scenario = Scenario(clients=number, rounds=2, local_epochs=2 if number == 2 else 1)
        completes(subject.run(scenario), f"{number} clients")
    in_any_order(subject, subject.crowd)
    return "2, 3, 4 and 5 clients, 1 and 2 local epochs"


@rule("three-dimensions", "use step.model.spatial_dims, flatten(2) and mean(-1) in place of two fixed axes.")
def three_dimensions(subject: Subject) -> str:
    """Three-dimensional networks work."""
    return completes(subject.run(Scenario(spatial_dims=3, rounds=2)), "a 3-D network on patches")


@rule(
    "bf16",
    "features and logits are bfloat16 there: make tensors like them (zeros_like, new_zeros), or take value.float().",
)
def bf16(subject: Subject) -> str:
    """Mixed precision works, which `precision = "auto"` takes where the hardware has it."""
    try:
        return completes(subject.run(Scenario(precision="bf16", rounds=2)), "mixed precision")
    except (RuntimeError, TypeError) as error:
        raise Broken(f"at bf16 it {raised(error)}") from None


@rule("no-foreground", "do not divide by the number of foreground voxels; a batch may have none.")
def no_foreground(subject: Subject) -> str:
    """A client whose cases hold no foreground works."""
    return completes(subject.run(Scenario(empty=(0,), rounds=2)), "a client without foreground")


@rule("refusal", "raise fedbench.errors.UserError in check(setup) where the network has nothing to keep local.")
def refusal(subject: Subject) -> str:
    """A network without the layers it lives on is refused with a message, not silently trained as FedAvg."""
    plain = Scenario(norm="instance-plain", rounds=2)
    try:
        trained = subject.run(plain)
    except UserError as error:
        return f"refused: {error}"
    completes(trained, "a network without norm state")
    everything = [s for s in (trained.training, subject.main.training) if s.shared == set(s.networks.state_dict())]
    if everything == [trained.training] and not trained.training.states[0].local:
        raise Broken("without BatchNorm nothing stays local: it silently is another algorithm")
    return "a network without norm state trains"


RULES = (batch_of_one, clients, three_dimensions, bf16, no_foreground, refusal)
