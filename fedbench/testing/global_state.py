"""What belongs to the process and not to a plugin: random states, torch's settings, threads, environment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from fedbench.engine.settings import SETTINGS

WATCHED: dict[str, Callable[[], Any]] = {
    "the state of Python's random": random.getstate,
    "the state of numpy's global generator": lambda: str(np.random.get_state()),  # noqa: NPY002 (it is the global one)
    "the state of torch's global generator": lambda: hashlib.sha256(torch.get_rng_state().numpy().tobytes()).digest(),
    **{name: setting.get for name, setting in SETTINGS.items()},
    "torch's thread count": torch.get_num_threads,
    "torch's deterministic mode": torch.are_deterministic_algorithms_enabled,
    "cudnn.benchmark": lambda: torch.backends.cudnn.benchmark,
    "cudnn.deterministic": lambda: torch.backends.cudnn.deterministic,
    "numpy's error settings": np.geterr,
    "the environment variables": lambda: dict(os.environ),
    "the working folder": os.getcwd,
}


THREADS = "the threads that run"


def observe() -> dict[str, Any]:
    """Return the present value of everything watched."""
    return {name: look() for name, look in WATCHED.items()} | {THREADS: set(threading.enumerate())}


def changed(before: dict[str, Any]) -> list[str]:
    """Return the names of what is no longer as ``before``; a thread that ended is no change."""
    now = observe()
    news = [thread for thread in now.pop(THREADS) - before[THREADS] if thread.is_alive()]
    return [name for name, value in now.items() if value != before[name]] + ([THREADS] if news else [])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block from known global random states, and put the caller's back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


@contextlib.contextmanager
def settings_restored() -> Iterator[None]:
    """Put back what a plugin in a check may have set, of all that is watched; random states are ``seeded``'s."""
    environment, folder, threads = dict(os.environ), os.getcwd(), torch.get_num_threads()
    settings = {name: setting.get() for name, setting in SETTINGS.items()}
    deterministic, numpy_errors = torch.are_deterministic_algorithms_enabled(), np.geterr()
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    try:
        yield
    finally:
        for name, setting in SETTINGS.items():
            if setting.get() != settings[name]:
                setting.set(settings[name])
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
        np.seterr(**numpy_errors)
        os.chdir(folder)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
