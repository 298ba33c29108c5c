"""The same bits: after saving and loading, again, in another process; and the process's own state left alone."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from fedbench.algorithm import Algorithm, Client
from fedbench.engine import checkpoint, held
from fedbench.testing.findings import Broken, NotApplicable, raised, rule
from fedbench.testing.global_state import seeded
from fedbench.testing.laboratory import differing, fingerprint
from fedbench.testing.subject import STANDARD, Subject, train

SECONDS_TO_MEET = 30.0  # of clients in threads


@rule(
    "resume",
    "what must last from round to round belongs into client.memory or server.memory, as tensors; self and globals are "
    "gone after a restart.",
)
def resume(subject: Subject) -> str:
    """Saved and loaded after every round, it goes on to the same bits."""
    whole = subject.main.training.state()[0]
    with tempfile.TemporaryDirectory() as folder:
        file, rounds = Path(folder) / "state.safetensors", 0
        while True:
            training = STANDARD.start(subject.make())
            if rounds:
                training.restore(*checkpoint.load(file))
            if next(training.rounds(), None) is None:
                break
            rounds += 1
            checkpoint.save(file, *training.state())
        ended = training.state()[0]
    if names := differing(whole, ended):
        raise Broken(f"started again after every round, '{names[0]}' ends with other bits")
    return f"started again after each of {rounds} rounds, it ends with the same bits"


@rule(
    "on-disk",
    "beyond 8 MiB a round upload.message is a read-only mapping, no dict: write {**upload.message, ...}, never "
    "upload.message | ...; its tensors are read anew at every look, so edits are lost; keep copies beyond the round.",
)
def on_disk(subject: Subject) -> str:
    """Messages of many clients or of a large network, which wait on disk, are aggregated to the same bits."""
    before, held.IN_MEMORY = held.IN_MEMORY, 0
    try:
        again = train(STANDARD.start(subject.make()))
    except Exception as error:
        raise Broken(f"with messages on disk it {raised(error)}") from None
    finally:
        held.IN_MEMORY = before
    if fingerprint(again.training) != fingerprint(subject.main.training):
        names = differing(subject.main.training.state()[0], again.training.state()[0])
        where = f": '{names[0]}'" if names else ""
        raise Broken(f"with messages on disk the run ends with other bits{where}")
    return "the same bits with messages on disk"


@rule(
    "same-bits",
    "draw from client.generator (batches never do), build networks in side_networks(), and depend on no clock, hash or "
    "order of a set.",
)
def same_bits(subject: Subject) -> str:
    """The same run gives the same bits again, whatever the global random states."""
    expected = fingerprint(subject.main.training)
    with seeded(82421):
        again = train(STANDARD.start(subject.make()))
    if fingerprint(again.training) != expected:
        names = differing(subject.main.training.state()[0], again.training.state()[0])
        where = f": '{names[0]}'" if names else ""
        raise Broken(f"from other global random states the run ends with other bits{where}")
    return "the same bits again"


@rule(
    "side-by-side",
    "what belongs to one client's round belongs into client.scratch; on self, the clients that train at the same time "
    "overwrite each other's.",
)
def side_by_side(subject: Subject) -> str:
    """Clients that train side by side in threads do not disturb each other."""
    clients = len(subject.main.training.clients)
    if clients == 1:
        raise NotApplicable("one client trains")
    algorithm = _in_step(subject.make(), clients)
    again = train(STANDARD.start(algorithm, at_once=clients))
    if fingerprint(again.training) != fingerprint(subject.main.training):
        names = differing(subject.main.training.state()[0], again.training.state()[0])
        where = f": '{names[0]}'" if names else ""
        raise Broken(f"with {clients} clients side by side the run ends with other bits{where}")
    return f"the same bits with {clients} clients side by side"


def _in_step(algorithm: Algorithm, clients: int) -> Algorithm:
    """Let every client begin and end its round before any goes on, so that one that disturbs another always does."""
    together = threading.Barrier(clients, timeout=SECONDS_TO_MEET)
    begin, end = algorithm.begin_round, algorithm.end_round

    def begin_round(client: Client) -> None:
        begin(client)
        together.wait()

    def end_round(client: Client) -> None:
        end(client)
        together.wait()

    algorithm.begin_round, algorithm.end_round = begin_round, end_round  # type: ignore[method-assign]
    return algorithm


SILENT = "on a loaded machine that is load alone: check again when less runs beside; else its file hangs when imported."


@rule("other-process", "something depends on the process: a hash, the order of a set, an id, the environment.")
def other_process(subject: Subject) -> str:
    """Another worker process, with another hash seed, computes the same bits."""
    answer = subject.elsewhere
    if "error" in answer:
        hint = SILENT if "silent" in answer else "its file must be importable by itself."
        raise Broken(f"in another process: {answer['error']}", hint)
    if answer["fingerprint"] != fingerprint(subject.main.training):
        raise Broken("in another process the run ends with other bits")
    if answer["touched"]:
        raise Broken(f"importing its file changed {', '.join(answer['touched'])}", global_state.hint)
    return "the same bits in another process"


@rule(
    "global-state",
    "draw from client.generator; let the harness set threads and precision; wrap what you must set in a with block.",
)
def global_state(subject: Subject) -> str:
    """A run leaves the process as it was: global random states, torch's settings, threads, environment."""
    if touched := subject.main.touched:
        raise Broken(f"a run changed {', '.join(touched)}")
    return "random states, torch's settings, threads and environment are as they were"


FIRST = (global_state, same_bits)
RULES = (resume, on_disk, side_by_side, other_process)
