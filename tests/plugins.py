"""Plugin files that misbehave, written where a test wants them."""

from __future__ import annotations

from pathlib import Path

FRAGILE = '''
"""Dies by SIGKILL in the middle of round 2, unless the marker file says that it has done so before."""
import os, signal
from pathlib import Path
from fedbench.algorithms.fedavg import FedAvg

class Fragile(FedAvg):
    """Dies once."""
    name = "fragile"

    def local_step(self, step):
        super().local_step(step)
        marker = Path(os.environ["FEDBENCH_TEST_MARKER"])
        if step.client.round == 2 and step.client.index == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''

RAISING = '''
"""Raises in round 1."""
from fedbench.algorithms.fedavg import FedAvg

class Raising(FedAvg):
    """Raises."""
    name = "raising"

    def begin_round(self, client):
        if client.round == 1:
            raise RuntimeError("the plugin broke")
'''

DIVERGING = '''
"""Returns NaN from round 1 on."""
from fedbench.algorithms.fedavg import FedAvg

class Diverging(FedAvg):
    """Diverges."""
    name = "diverging"

    def loss(self, step):
        loss = super().loss(step)
        return step.log("odd term", loss * float("nan")) if step.client.round else loss
'''

SLOW = '''
"""Takes its time, so that a test can interrupt it."""
import time
from fedbench.algorithms.fedavg import FedAvg

class Slow(FedAvg):
    """Slow."""
    name = "slow"

    def local_step(self, step):
        super().local_step(step)
        time.sleep(0.1)
'''

HANGING = '''
"""Never comes back from its first step."""
import time
from fedbench.algorithms.fedavg import FedAvg

class Hanging(FedAvg):
    """Hangs."""
    name = "hanging"

    def local_step(self, step):
        time.sleep(10_000)
'''

SELFISH = '''
"""Changes what belongs to all: random states and settings of torch."""
import random
import numpy as np
import torch
from fedbench.algorithms.fedavg import FedAvg

class Selfish(FedAvg):
    """Changes global state."""
    name = "selfish"

    def end_round(self, client):
        random.seed(1); np.random.seed(1); torch.manual_seed(1)
        torch.set_num_threads(3)
        torch.set_flush_denormal(True)
        torch.set_default_dtype(torch.float64)
'''

NOISY = '''
"""Prints a megabyte."""
import sys
from fedbench.algorithms.fedavg import FedAvg

class Noisy(FedAvg):
    """Prints."""
    name = "noisy"

    def end_round(self, client):
        print("x" * 100_000)
        print("y" * 100_000, file=sys.stderr)
'''

LEAKING = '''
"""Leaves threads behind."""
import threading, time
from fedbench.algorithms.fedavg import FedAvg

class Leaking(FedAvg):
    """Leaks threads."""
    name = "leaking"

    def begin_round(self, client):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
'''

HUNGRY = '''
"""Fills all the memory that there is: as much as its process has, and 256 MiB."""
import resource
import torch
from pathlib import Path
from fedbench.algorithms.fedavg import FedAvg

class Hungry(FedAvg):
    """Eats memory."""
    name = "hungry"

    def begin_round(self, client):
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
        eaten = []
        try:
            while True:
                eaten.append(torch.ones(2**24, dtype=torch.uint8))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
'''

GATED = '''
"""Writes down who begins which round, and waits in round 1 until there is a file "go"."""
import os, time
from pathlib import Path
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

class Gated(FedAvg):
    """Waits at a gate."""
    name = "gated"

    class Params(FedAvg.Params):
        number: int = hyperparameter(0, search=[0, 1])

    def begin_round(self, client):
        folder = Path(os.environ["FEDBENCH_TEST_MARKER"])
        with open(folder / "begun", "a") as file:
            file.write(f"{self.params.number} {client.round} {client.name}\\n")
        while client.round == 1 and not (folder / "go").exists():
            time.sleep(0.05)
'''


def write(folder: Path, name: str, source: str) -> str:
    """Write a plugin file and return how a user names it."""
    path = folder / f"{name}.py"
    path.write_text(source)
    return str(path)
