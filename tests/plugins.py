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

EXITING = '''
"""Leaves by sys.exit in round 1, with the status of success."""
import sys
from fedbench.algorithms.fedavg import FedAvg

class Exiting(FedAvg):
    """Exits."""
    name = "exiting"

    def begin_round(self, client):
        if client.round == 1:
            sys.exit(0)
'''

UNREADY = '''
"""Raises before anything is trained."""
from fedbench.algorithms.fedprox import FedProx

class Unready(FedProx):
    """Cannot be set up."""
    name = "unready"

    def {where}(self, *given, **named):
        raise KeyError("no such key")
'''

RAISING_ONCE = '''
"""Raises in round 2, unless the marker file says that it has done so before."""
import os
from pathlib import Path
from fedbench.algorithms.fedavg import FedAvg

class RaisingOnce(FedAvg):
    """Raises once."""
    name = "raising-once"

    def begin_round(self, client):
        marker = Path(os.environ["FEDBENCH_TEST_MARKER"])
        if client.round == 2 and not marker.exists():
            marker.touch()
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

NOT_FINITE = '''
"""Whatever an algorithm keeps or sends becomes NaN or infinite in the last step, when no loss can tell any more."""
import torch
from fedbench.algorithm import Deployment
from fedbench.algorithms.ditto import Ditto
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.silobn import SiloBN

def last(client):
    return client.round == client.rounds - 1 and client.name == "MR"

class Sends(FedAvg):
    """One client sends NaN."""
    name = "sends"

    def upload(self, client):
        sent = super().upload(client)
        name = sorted(sent)[0]
        return {**sent, name: sent[name] * float("nan")} if last(client) else sent

class Keeps(SiloBN):
    """A statistic that stays with its client is infinite."""
    name = "keeps"

    def end_round(self, client):
        if last(client):
            next(v for k, v in client.entries.items() if k.endswith("running_var")).fill_(float("inf"))

class Trains(Ditto):
    """A personal weight is NaN."""
    name = "trains"

    def end_round(self, client):
        if last(client):
            next(v for k, v in client.entries.items() if k.startswith("personal.")).fill_(float("nan"))

class Remembers(FedAvg):
    """A client's memory is infinite."""
    name = "remembers"

    def end_round(self, client):
        client.memory["past"] = torch.tensor([0.0, -float("inf") if last(client) else 0.0])

class Serves(FedAvg):
    """The server's momentum is infinite."""
    name = "serves"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        server.memory["momentum"] = torch.tensor([0.0, float("inf") if server.round == 1 else 0.0])

class Deploys(FedAvg):
    """The model in use holds NaN."""
    name = "deploys"

    def deployments(self, server, clients):
        (model,) = super().deployments(server, clients)
        broken = {k: v * float("nan") if v.is_floating_point() else v for k, v in model.entries.items()}
        return [Deployment("global", None, broken if server.round == 2 else model.entries)]
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

LASTING = '''
"""Ends well, and leaves settings of torch behind that change what others compute."""
import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from fedbench.algorithms.fedavg import FedAvg

def shifted(module, inputs, output):
    return output + 0.01 if isinstance(module, torch.nn.Conv2d) else output

def shrunk(optimizer, _args, _kwargs):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.data *= 0.99

class Lasting(FedAvg):
    """Changes settings for good."""
    name = "lasting"

    def begin_round(self, client):
        torch.set_autocast_enabled("cpu", True)

    def end_round(self, client):
        torch.backends.mkldnn.enabled = False
        torch.backends.mkldnn.deterministic = True
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
        torch.autograd.set_detect_anomaly(True)
        if not client.round and not client.index:
            register_module_forward_hook(shifted)
            register_optimizer_step_post_hook(shrunk)
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

UNTIDY = '''
"""Ends well, and leaves its process in another state: rights, folder, signals, and what is an error."""
import gc, os, signal, warnings
import numpy as np
from fedbench.algorithms.fedavg import FedAvg

class Untidy(FedAvg):
    """Changes what is not torch's."""
    name = "untidy"

    def end_round(self, client):
        os.umask(0o777)
        os.chdir("/")
        np.seterr(all="raise")
        warnings.simplefilter("error")
        gc.disable()
        os.environ["TZ"] = "Asia/Tokyo"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
'''

PATCHING = '''
"""Replaces a method of another algorithm's class."""
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedprox import FedProx

def lighter(self, step, own=FedProx.loss):
    return own(self, step) * 0.5

class Patching(FedAvg):
    """Patches FedProx."""
    name = "patching"

    def begin_round(self, client):
        FedProx.loss = lighter
        FedProx.upload = FedAvg.upload
'''

LINGERING = '''
"""Leaves a thread behind that Python waits for before it ends."""
import threading, time
from fedbench.algorithms.fedavg import FedAvg

class Lingering(FedAvg):
    """Leaves a thread that is no daemon."""
    name = "lingering"

    def begin_round(self, client):
        if not client.round and not client.index:
            threading.Thread(target=time.sleep, args=(3600,), name="lingerer").start()
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
