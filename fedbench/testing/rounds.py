"""What an algorithm does within a round: batches, modes, edits, messages, deployed models."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch

from fedbench.algorithm import MODEL, Algorithm, Deployment, Server, State
from fedbench.engine.evaluation import load_deployment
from fedbench.testing.findings import Broken, raised, rule
from fedbench.testing.hooks import misfit
from fedbench.testing.laboratory import SIZE, copied, differing
from fedbench.testing.separate import Separate
from fedbench.testing.subject import STANDARD, Subject, Trained, completes, differ, train


@rule("trains", "every other rule needs a run that comes to its end; the message names the place.")
def trains(subject: Subject) -> str:
    """Three clients train for three rounds."""
    try:
        main = subject.main
    except Exception as error:  # what was noted before is nearer to its cause
        for notes in subject.watch.notes.values():
            raise Broken(f"{notes[0]}; then it {raised(error)}") from None
        raise
    steps = sum(len(batches) for batches in subject.watch.steps.values())
    return f"{len(main.states)} rounds, {steps} steps, {len(main.deployed)} deployed models"


def _notes(subject: Subject, name: str) -> None:
    assert subject.main  # or nothing has been watched yet
    if notes := subject.watch.notes.get(name, []):
        more = f" (and {len(notes) - 1} times more)" if len(notes) > 1 else ""
        raise Broken(notes[0] + more)


@rule(
    "finite",
    "at the first step of a round w = w_t: a root of squares has an infinite slope there, and 0/0 is NaN. Drop the "
    "root, or keep away from 0.",
)
def finite(subject: Subject) -> str:
    """Every gradient and every logged term is finite, from the first step on."""
    _notes(subject, "finite")
    completes(subject.main, "")
    terms = {row["metric"] for row in subject.main.training.history if row["client"]}
    terms -= {"bytes up", "bytes down", "seconds", "validation dice"}
    return f"finite from the first step on; logged: {', '.join(sorted(terms)) or 'nothing'}"


@rule(
    "batches",
    "call super().local_step(step) or step.minimise(...) once per batch in every round, and none before or after them; "
    "the harness deals the batches. No parameter belongs to two optimisers.",
)
def batches(subject: Subject) -> str:
    """Every batch moves the segmentation network once: none is skipped, none is used twice."""
    assert subject.main
    watch, reference = subject.watch, subject.reference()
    for (round, client), counts in watch.steps.items():
        for number, (by_name, model) in enumerate(zip(counts, watch.model_steps[round, client], strict=True), start=1):
            where = f"round {round}, client {client}, batch {number}"
            if not model:
                raise Broken(f"{where}: no optimiser stepped the segmentation network")
            if twice := [name for name, times in by_name.items() if times > 1]:
                raise Broken(f"{where}: optimiser '{twice[0]}' stepped {by_name[twice[0]]} times")
    _notes(subject, "batches")
    expected = {c.name: s.steps for c, s in zip(reference.training.clients, reference.training.sets, strict=True)}
    for (round, client), counts in watch.steps.items():
        if len(counts) != expected.get(client, len(counts)):
            raise Broken(f"round {round}, client {client}: {len(counts)} batches, not {expected[client]}")
    return f"{sum(len(counts) for counts in watch.steps.values())} batches, each used once"


@rule(
    "optimizers",
    "build it in optimizers() with make(parameters), every round anew: an optimiser of another kind, rate or schedule, "
    "or moments kept from round to round or lost from batch to batch, would be compared in the method's name.",
)
def optimizers(subject: Subject) -> str:
    """The suite's optimiser steps the segmentation network; all begin the round without a past, and keep it for the
    whole round.
    """
    _notes(subject, "optimizers")
    return "the suite's steps the segmentation network; all are fresh in every round"


@rule(
    "learning-rate",
    "group['lr'] = ... overwrites the suite's rate, which is the same for all and was tuned for all: drop it. What the "
    "method needs smaller or larger belongs into its loss, a rate or a schedule for everybody into [training].",
)
def learning_rate(subject: Subject) -> str:
    """Every step of the segmentation network has the learning rate, moments and weight decay that the suite gave."""
    _notes(subject, "learning-rate")
    return "the suite's rate, moments and weight decay in every step of the segmentation network"


@rule(
    "side-networks",
    "start a side network from copy.deepcopy(setup.model): one network under two names is loaded and stepped twice.",
)
def side_networks(subject: Subject) -> str:
    """Every entry of the networks' state has a storage of its own."""
    owners: dict[int, str] = {}
    for name, value in subject.main.training.networks.state_dict().items():
        if value.numel() and (owner := owners.setdefault(value.untyped_storage().data_ptr(), name)) != name:
            raise Broken(f"'{name}' and '{owner}' share one storage")
    return f"{len(owners)} entries share no storage"


@rule(
    "modes",
    "a copy that stands for a fixed model belongs into eval mode, without gradients: client.frozen(entries). In train "
    "mode its BatchNorm normalises by the batch and its statistics wander. To look at the network in training, look at "
    "such a copy.",
)
def modes(subject: Subject) -> str:
    """The network in training trains in train mode, and its statistics move with what it learns from alone; frozen
    copies compute in eval mode and stay as they were.
    """
    _notes(subject, "modes")
    return "train mode for what is trained, eval mode for copies; upload() leaves the networks alone"


@rule(
    "own-data",
    "what the federation holds is in setup.clients, and no federation lets one client see another's: take images from "
    "step.images or client.samples_without_augmentation(), and send what others need as a message, where it is "
    "counted. Validation cases choose the round that is deployed, and must train nobody.",
)
def own_data(subject: Subject) -> str:
    """A client reads its own training cases alone; the server reads none; a case trains at one client."""
    _notes(subject, "own-data")
    return "hooks read the training cases of the client at work alone"


@rule(
    "in-place",
    "server.weights, memories, messages and batches are shared with the harness: replace entries, or clone() first.",
)
def in_place(subject: Subject) -> str:
    """Nothing that the harness or another client still holds is edited in place."""
    _notes(subject, "in-place")
    return "memories, messages, earlier weights and batches keep their values"


@rule(
    "messages",
    "whatever a client's hooks leave on self is not there for the server, nor the reverse: put it as a tensor into the "
    "message, where it is counted, or into client.memory / server.memory.",
)
def messages(subject: Subject) -> str:
    """Messages are plain tensors, counted to the byte, and carry all that travels between server and clients."""
    _notes(subject, "messages")
    logged = {
        (row["round"], row["client"], row["metric"].removeprefix("bytes ")): row["value"]
        for row in subject.main.training.history
        if row["metric"].startswith("bytes ")
    }
    for at, counted in subject.watch.sent.items():
        if logged.get(at) != counted:
            raise Broken(f"round {at[0]}, client {at[1]}: {counted} bytes went {at[2]}, {logged.get(at)} were logged")
    apart = train(STANDARD.start(Separate(subject.make)))
    if where := differ(subject.main, apart):
        raise Broken(f"with an instance of its own for the server and for every client the result differs: {where}")
    return f"{int(max(logged.values(), default=0))} bytes in the largest; nothing travels beside them"


@rule(
    "deployments",
    "return Deployment(kind, client or None, entries) with every entry of the model, named model.…, for every client; "
    "BatchNorm with its initial statistics normalises by nothing, and with another client's it is another model.",
)
def deployments(subject: Subject) -> str:
    """Deployed models are whole, load and predict: one for every client, of what it holds, none at initial values."""
    main = subject.main
    state = {MODEL + name: value for name, value in main.training.networks["model"].state_dict().items()}
    if not main.deployed:
        raise Broken("no model is deployed")
    for deployment in main.deployed:
        if problem := misfit(deployment, state):
            raise Broken(problem)
        _predicts(deployment, main)
    labels = [(d.kind, d.client) for d in main.deployed]
    if len(set(labels)) < len(labels):
        raise Broken(f"two deployed models are the same kind for the same client: {labels}")
    alone = [s.name for s in main.training.states if not any(d.client in (None, s.name) for d in main.deployed)]
    if alone:
        raise Broken(f"client {alone[0]} has no model")
    _not_initial(subject)
    _of_their_own(main)
    return "; ".join(f"{kind} of {client or 'everybody'}" for kind, client in labels)


def _predicts(deployment: Deployment, main: Trained) -> None:
    load_deployment(main.training.networks, deployment)
    model = main.training.networks["model"].eval()
    with torch.no_grad():
        logits = model(torch.ones(1, 1, SIZE, SIZE))
    if not torch.isfinite(logits).all():
        raise Broken(f"the {deployment.kind} model predicts NaN or infinite values")


def _not_initial(subject: Subject) -> None:
    start, main = STANDARD.start(subject.make()).networks["model"], subject.main
    buffers = {MODEL + name: value for name, value in start.named_buffers()}
    held = main.training.server.weights | main.training.states[0].local
    for deployment in main.deployed:
        for name, initial in buffers.items():
            if torch.equal(deployment.entries[name], initial) and not torch.equal(held[name], initial):
                raise Broken(f"the {deployment.kind} model: '{name}' is what it was before training")


def _of_their_own(main: Trained) -> None:
    """Let each client hold something else: only its model, and those for everybody, may change.

    A model for everybody may hang on what all clients hold or on none of it; a client's own is not everybody's.
    """
    training, hang_on = main.training, Counter[str]()
    for k, changed in enumerate(training.states):
        states = [replace(s, local=copied(s.local), memory=copied(s.memory)) for s in training.states]
        for state in (states[k].local, states[k].memory):
            state.update({name: value + 1 for name, value in state.items() if value.is_floating_point()})
        server = Server(copied(training.server.weights), copied(training.server.memory), training.server.round)
        again = {(d.kind, d.client): d.entries for d in training.task.algorithm.deployments(server, states)}
        for deployment in (d for d in main.deployed if d.client not in (None, changed.name)):
            if names := differing(deployment.entries, again.get((deployment.kind, deployment.client), {})):
                what = f"the {deployment.kind} model of {deployment.client}: '{names[0]}'"
                raise Broken(f"{what} is another when client {changed.name} holds something else")
        for deployment in (d for d in main.deployed if d.client is None):
            entries = again.get((deployment.kind, None), {})
            hang_on[deployment.kind] += bool(differing(deployment.entries, entries))
    for kind, count in hang_on.items():
        if count == 1 < len(training.states):
            raise Broken(f"the {kind} model for everybody hangs on what one client alone holds")
    own: dict[str, list[State]] = {}
    for deployment in main.deployed:
        if deployment.client is not None:
            own.setdefault(deployment.kind, []).append(deployment.entries)
    for kind, models in own.items():
        if len(models) > 1 and not any(differing(models[0], other) for other in models[1:]):
            raise Broken(
                f"the {kind} models of all clients are the same",
                "the merge went the wrong way round, {**local, **shared}; a model that all share is one Deployment "
                "for the client None.",
            )


def plain_local_training(cls: type[Algorithm]) -> bool:
    """Whether a class leaves everything that a client does between the batches as the contract's defaults."""
    hooks = ("loss", "local_step", "begin_round", "end_round", "optimizers", "upload", "download", "deployments")
    return all(getattr(cls, hook) is getattr(Algorithm, hook) for hook in hooks)


FIRST = (trains, finite)
RULES = (messages, batches, optimizers, learning_rate, side_networks, modes, own_data, in_place, deployments)
