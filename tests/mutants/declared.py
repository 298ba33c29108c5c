"""The mutations: where, what is written there, what is written instead, and whose tests should notice.

Each is a mistake that somebody could make and that would still run: a wrong weight, sign, order, bound or name.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One change of one place.

    Attributes:
        old: what is there, once in the file.
        tests: files whose tests should fail.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def of(file: str, tests: str, *changes: tuple[str, str]) -> list[Mutation]:
    """Return the mutations of one file; ``tests`` are separated by spaces."""
    return [Mutation(file, old, new, tuple(tests.split())) for old, new in changes]


MUTATIONS: list[Mutation] = [
    # -- aggregation and algorithms ----------------------------------------------------------------------------------
    *of(
        "fedbench/algorithm.py", "tests/test_algorithm.py",
        ("total = float(sum(weights))", "total = float(len(weights))"),
        ("sums[name] = torch.maximum(sums[name], value)", "sums[name] = value.clone()"),
        ("sums[name] = value.double() * (weight / total) if", "sums[name] = value * (weight / total) if"),
        ("sums[name].add_(value.double(), alpha=weight / total)", "sums[name].add_(value.double(), alpha=1 / total)"),
        ("terms = [(p - reference[name]).square().sum()", "terms = [(p - reference[name]).abs().sum()"),
    ),
    *of(
        "algorithms/fedavg.py", "tests/engine/test_training.py tests/algorithms/test_reductions.py",
        ("[u.samples for u in uploads]", "[1 for u in uploads]"),
    ),
    *of(
        "algorithms/fedprox.py", "tests/algorithms/test_fedprox.py",
        ("self.params.mu / 2 * proximal", "self.params.mu * proximal"),
    ),
    *of(
        "algorithms/fedbn.py", "tests/algorithms/test_fedbn.py",
        ('_BatchNorm if self.params.norms == "batch" else ALL_NORMS', "_BatchNorm"),
        ("[c.samples for c in clients]", "[1 for c in clients]"),
    ),
    *of(
        "algorithms/silobn.py", "tests/algorithms/test_silobn.py",
        ('and name.rpartition(".")[2] in buffers', ""),
    ),
    *of(
        "algorithms/scaffold.py", "tests/algorithms/test_scaffold.py",
        ("c[name] - c_i[name].to(c[name])", "c_i[name].to(c[name]) - c[name]"),
        ("total / steps - correction[name]", "total / steps"),
        ("torch.lerp(x[name], server.weights[name], self.params.eta_g)", "server.weights[name]"),
    ),
    *of(
        "algorithms/fedadam.py", "tests/algorithms/test_fedadam.py",
        ("p.tau**2) + (1 - p.beta2)", "0.0) + (1 - p.beta2)"),
        ("v[name].sqrt() + p.tau", "(v[name] + p.tau).sqrt()"),
        ("self.setup.model.named_parameters()]", "self.setup.model.state_dict().items()]"),
    ),
    *of(
        "algorithms/ditto.py", "tests/algorithms/test_ditto.py",
        ("squared_distance(personal, step.received)", "squared_distance(step.model, step.received)"),
    ),
    *of(
        "algorithms/moon.py", "tests/algorithms/test_moon.py",
        ("softplus(push - pull)", "softplus(pull - push)"),
        ('which in ("global", "previous")', 'which in ("previous", "global")'),
        ("z_previous, self.params.tau)", "z_previous, 1.0)"),
        ("self.params.mu * step.log(", "self.params.mu**2 * step.log("),
    ),
    *of(
        "algorithms/fedda.py", "tests/algorithms/test_fedda.py",
        ("step.features.detach(), target)", "step.features, target)"),
        ("(judge(on_source, 1.0) + judge(on_target, 0.0)) / 2", "(judge(on_source, 0.0) + judge(on_target, 1.0)) / 2"),
        ('["discriminator"](step.features), 0.0)', '["discriminator"](step.features), 1.0)'),
        ("(index + 1 + round % (clients - 1)) % clients", "(index + 1 + round) % clients"),
        ("step.client.round / (RAMP * step.client.rounds)", "step.client.round / step.client.rounds"),
    ),
    # -- scores ------------------------------------------------------------------------------------------------------
    *of(
        "fedbench/metrics.py", "tests/test_metrics.py",
        ("return ClassScore(label, 0.0, diagonal, 0.0,", "return ClassScore(label, 0.0, nan, 0.0,"),
        ('"missed" if n_truth else "false-alarm"', '"false-alarm" if n_truth else "missed"'),
        ("np.count_nonzero(there <= np.float32(tolerance))", "np.count_nonzero(there < np.float32(tolerance))"),
        ("max(_percentile95(there), _percentile95(back))", "_percentile95(there)"),
        ("np.float32(0.95) * np.float32(distances.size - 1)", "np.float32(0.95) * np.float32(distances.size)"),
        ("(1000.0 if truth.ndim == 3 else 1.0)", "1000.0"),
        ("return mask & ~inner", "return mask & inner"),
    ),
    *of(
        "fedbench/engine/evaluation.py", "tests/engine/test_evaluation.py",
        ("(joint.sum(0) + joint.sum(1))[1:]", "(2 * joint.sum(0))[1:]"),
        ("own = [d for d in deployments if d.client == client.name]", "own = [d for d in deployments if d.client]"),
        ("for case in client.val\n", "for case in client.train\n"),
        ('{"mm": config.nsd_tolerance_mm, "px": config', '{"px": config.nsd_tolerance_mm, "mm": config'),
        ("actual, [1], spacing, tolerance)", "actual, [1], (1.0,) * len(spacing), tolerance)"),
    ),
    # -- from rows to the matrix that is tested -----------------------------------------------------------------------
    *of(
        "fedbench/analysis/statistics/rows.py", "tests/analysis/statistics/test_scores.py",
        ('(kind == "personal" and often[setting] == 1)', 'kind == "personal"'),
        ("-1 if gaps is None else place[-1]", "-1"),
        ("found = found * len(rows[name].cat.categories) +", "found = found +"),
    ),
    *of(
        "fedbench/analysis/comparable.py", "tests/analysis/statistics/test_scores.py",
        ('len(group["partition"].unique()) > 1', "False"),
        ('(again := group["label"].duplicated()).any()', "(again := group.empty)"),
    ),
    *of(
        "fedbench/analysis/statistics/grid.py", "tests/analysis/statistics/test_scores.py",
        ("place = (a * shape[1] + s) * shape[2] + cell", "place = (a * shape[1] + s) * shape[2] + cell[::-1]"),
        ("truth=with_truth > 0", "truth=with_truth >= 0"),
        ("absent = grid.present.any(axis=0) & ~grid.present", "absent = grid.present.all(axis=0) & ~grid.present"),
        ("np.where(absent, worst, grid.scores)", "grid.scores"),
        ("labels.cat.categories)[labels.cat.codes]", "labels.cat.categories[::-1])[labels.cat.codes]"),
    ),
    *of(
        "fedbench/analysis/statistics/scores.py", "tests/analysis/statistics/test_scores.py",
        ("np.add.reduceat(known.astype(int), starts", "np.add.reduceat(1 + 0 * known, starts"),
        (".sum(axis=-2), known.sum(axis=-2))", ".sum(axis=-2), known.shape[-2] + 0 * known.sum(axis=-2))"),
        ("worst = known.max() if endpoint.metric in DISTANCES else 0.0", "worst = 0.0"),
        ("np.bincount(algorithm[(flags == flag).to_numpy()],", "np.bincount(algorithm[(flags != flag).to_numpy()],"),
        ("if truth.sum() < 2:", "if truth.sum() < 1:"),
    ),
    # -- statistics --------------------------------------------------------------------------------------------------
    *of(
        "fedbench/analysis/statistics/paired.py", "tests/analysis/statistics/test_paired.py",
        ("(n - 1) * chi2 / np.where", "n * chi2 / np.where"),
        ("-(n - 1) * _log_arrangements(", "-n * _log_arrangements("),
        ("np.sum(special.gammaln(tied + 1) / tied, axis=-1)", "np.sum(special.gammaln(tied + 1), axis=-1)"),
        ("factors = p.shape[-1] - np.arange(p.shape[-1])", "factors = np.full(p.shape[-1], p.shape[-1])"),
        ("stepped = np.maximum.accumulate(", "stepped = np.asarray("),
        ("ties = (ordered[0] == 0) | (", "ties = ("),
        ('zero_method="pratt", axis=0', 'zero_method="wilcox", axis=0'),
        ("ranks.sum(axis=0) / (n * (n + 1) / 2)", "ranks.sum(axis=0) / (n * (n - 1) / 2)"),
        ("2 * tails.min(axis=0)", "tails.min(axis=0)"),
        ("ordered[outside - 1], ordered[-outside]", "ordered[outside], ordered[-outside - 1]"),
        ("(1 / folds + test_per_train) * variance", "(1 / folds) * variance"),
        ("(patients - sizes)", "patients"),
        ("max(planned or 0, len(names)) / len(names)", "1"),
    ),
    *of(
        "fedbench/analysis/statistics/variance.py", "tests/analysis/statistics/test_variance.py",
        ("max(0.0, interaction - residual)", "max(0.0, interaction)"),
        ("cube - cube.mean(axis=2, keepdims=True)", "cube"),
        ("return Luck(2 * patients *", "return Luck(patients *"),
        ("others = (seeds - 1) * (algorithms - 2)", "others = seeds * algorithms"),
        ("seed = (luck.df * luck.mean_square +", "seed = (luck.mean_square +"),
        ("seed_df = seed_df + luck.df", "seed_df = seed_df + 0 * luck.df"),
        ("both = squares.patient + squares.seed - squares.residual", "both = squares.patient + squares.seed"),
    ),
    *of(
        "fedbench/analysis/statistics/intervals.py", "tests/analysis/statistics/test_intervals.py",
        ("below + equal / 2", "below"),
        ("bias + shifted / (1 - acceleration * shifted)", "bias + shifted / (1 + acceleration * shifted)"),
        ("np.sum(centred**3, axis=0) / (6 *", "np.sum(centred**3, axis=0) / (3 *"),
        ("under + (rank - floor) * (over - under)", "under"),
    ),
    *of(
        "fedbench/analysis/statistics/ranking.py", "tests/analysis/statistics/test_ranking.py",
        ("return -scores if higher_is_better else scores", "return scores if higher_is_better else -scores"),
        ("(taken / tied[..., None])", "taken"),
        ("np.where(untied > 0, own @ other", "np.where(untied > 0, np.abs(own @ other)"),
    ),
    # -- partition ---------------------------------------------------------------------------------------------------
    *of(
        "fedbench/data/splitting.py", "tests/data/test_splitting.py tests/test_federation.py",
        ("rest = [p for p in order if p not in set(test)]", "rest = list(order)"),
        ("% config.folds == (config.fold or 0)", "% config.folds != (config.fold or 0)"),
        ("dealt += len(order)", "dealt += 0"),
        ("items[(2 * i + 1) * len(items) // (2 * n)]", "items[i]"),
        ('"split", config.split_seed, *modalities', '"split", *modalities'),
    ),
    *of(
        "fedbench/federation.py", "tests/test_federation.py",
        ("if len(places) > 1:", "if len(places) > 2:"),
        ("if modality == unseen:", "if modality == client.name:"),
        ('"val": [describe(x) for x in c.val]', '"val": []'),
        ('"test": [describe(x) for x in shown],', '"test": [],'),
    ),
    *of(
        "fedbench/streams.py", "tests/test_streams.py",
        ('"\\x1f".join(str(name) for name in names)', '"".join(str(name) for name in names)'),
    ),
    # -- rounds, checkpoints, results --------------------------------------------------------------------------------
    *of(
        "fedbench/engine/training.py", "tests/engine/test_training.py tests/algorithms/test_reductions.py",
        ("score > self.best.score", "score < self.best.score"),
        ('tensors |= {f"client/{i}/memory/{k}": v', 'tensors |= {f"client/{i}/memory/": v'),
        ('facts["round"])', 'facts["round"] + 1)'),
        ("networks, best.deployments,", "networks, training.deployments(),"),
        ("if best is None or best.round == task.training.rounds - 1:", "if True:"),
        ("(done + 1) % config.validate_every", "done % config.validate_every"),
    ),
    *of(
        "fedbench/engine/task.py", "tests/engine/test_training.py",
        ("(1 + math.cos(math.pi * round / config.rounds))", "(1 + math.cos(math.pi * round))"),
    ),
    *of(
        "fedbench/engine/local.py", "tests/engine/test_training.py",
        ("ThreadPoolExecutor(len(trainers),", "ThreadPoolExecutor(1,"),
        ("        trainer.abandoned = True", "        trainer.abandoned = False"),
        ("        trainer.abandoned = False", "        pass"),
        ("        trainer = free.get()", "        trainer = trainers[0]"),
    ),
    *of("fedbench/engine/compute.py", "tests/engine/test_training.py", (", cache_enabled=False", "")),
    *of(
        "fedbench/engine/held.py", "tests/engine/test_held.py",
        ("self._layout is None or not self._layout.suits(message)", "self._layout is None"),
        ("self._round != self._held.round", "False"),
        ("self._left, self._end = self._in_memory, 0", "self._left = self._in_memory"),
        ("or not message:", "or False:"),
    ),
    *of(
        "fedbench/engine/states.py", "tests/engine/test_states.py",
        ("IN_MEMORY // len(states)", "IN_MEMORY"),
        (") * ALIGNMENT)", ") * 1)"),
        ("        array = whole.numpy()[:]", "        array = whole.numpy().copy()"),
        ("        weakref.finalize(array, free.append, whole)", "        weakref.finalize(free, list)"),
        ("            whole = free.pop()", "            whole = free[-1]"),
    ),
    *of(
        "fedbench/engine/checkpoint.py", "tests/engine/test_checkpoint.py",
        ("        end = max(end, start + tensors[name].nbytes)", "        end = start + tensors[name].nbytes"),
        ('"aliases": aliases}', '"aliases": {}}'),
        ('f"{name}{value.dtype}{tuple(value.shape)}"', 'f"{value.dtype}"'),
        ('if metadata.get("sha256") != _checksum(tensors, text):', 'if "sha256" not in metadata:'),
        ("(value.data_ptr(), value.dtype, value.shape, value.stride())", "(value.data_ptr(),)"),
    ),
    # -- where runs go, and how many -----------------------------------------------------------------------------------
    *of(
        "fedbench/execution/planning.py", "tests/execution/test_planning.py",
        ('"bf16" if _has_bf16(device) else "fp32"', '"fp32" if _has_bf16(device) else "bf16"'),
        ("training = resolve(suite.training, device)", "training = suite.training"),
    ),
    *of(
        "fedbench/execution/prepared_data.py", "tests/commands/test_preparing.py",
        ("    if problems := edited(folder):", "    if problems := []:"),
        ("*(problem for folder in folders for problem in edited(folder)), ", ""),
    ),
    *of(
        "fedbench/execution/packing.py", "tests/execution/test_packing.py",
        ("largest = max(predicted,", "largest = min(predicted,"),
        ("predicted = (*federation.test, *(", "predicted = (*(), *("),
    ),
    *of(
        "fedbench/execution/scheduler.py", "tests/execution/test_scheduler.py",
        ('!= "cpu":\n            _refuse_broken_gpu()', '!= "cpu":\n            pass'),
    ),
    *of(
        "fedbench/execution/dispatch.py", "tests/execution/test_dispatch.py",
        ('problem = "; ".join(hand.greeting.differs)', 'problem = ""'),
        ('raise UserError(f"no worker can be started: {problem}")', "pass"),
    ),
    *of(
        "fedbench/execution/worker.py", "tests/execution/test_worker.py",
        ("differs = differences(briefing.driver, installation())", "differs = []"),
    ),
    *of(
        "fedbench/execution/cluster.py", "tests/execution/test_cluster.py",
        ('problems.append(f"{node.name}: no answer ({type(error).__name__})")', "pass"),
        ("if node in living_nodes(ray):", "if True:"),
    ),
    *of(
        "fedbench/execution/estimate.py", "tests/execution/test_estimate.py",
        ('run["seconds"] * run.get("clients_at_once", 1)', 'run["seconds"]'),
        ("min(at_once, len(sets))", "at_once"),
        ('("device", "dataset_content", "model")', '("device", "dataset_content")'),
        ("if other == kind}", "}"),
    ),
    *of(
        "fedbench/commands/running.py", "tests/commands/test_running.py",
        ("min(len(left), scheduler.room_here(resources.threads * at_once, options.gpus))",
         "scheduler.room_here(resources.threads * at_once, options.gpus)"),
    ),
    # -- what is kept and published ------------------------------------------------------------------------------------
    *of(
        "fedbench/store.py", "tests/test_store.py",
        ("SEALED = (RUN, CASES, ROUNDS, CHECKPOINT,", "SEALED = (RUN, CASES, ROUNDS,"),
        ("os.rename(self.folder(run_id), target)", "os.mkdir(target)"),
    ),
    *of(
        "fedbench/analysis/publishing/publish.py", "tests/analysis/publishing/test_adding.py",
        ("        analyses.get(condition)", "        pass"),
        ("list(evidence.views(c)) if c in kept else None", "None"),
        ('if trials is None and TRIALS[0] in before.get("sha256", ()):', "if False:"),
        ("        _take_along(target, part)\n", ""),
    ),
    *of(
        "fedbench/analysis/publishing/adding.py", "tests/analysis/publishing/test_adding.py",
        ("if code not in there.codes and not repeated:", "if False:"),
        (" and _code(made[i]) == code}", "}"),
        ("known is None and run_id in wanted", "run_id in wanted"),
        ("elif apart and (algorithm in added or algorithm in there.algorithms):", "elif False:"),
        ("algorithm in added or algorithm in there.algorithms", "algorithm in there.algorithms"),
        ("if not apart and run_id != known[run_id]:", "if not apart:"),
        ("if pair[0] in names)", "if False)"),
        ('if (before["seed"], before["fold"]) != (now["seed"], now["fold"]):', "if False:"),
        ("own[key][shown[read_key(key)[2]]]", "own[key]"),
        ('both.sort_values("run_id", kind="stable", ignore_index=True)', "both"),
        ("**{c: v for c, v in LATER.items() if c in cleaned and c not in published}", ""),
        ("_stem(old) == _stem(run_id)", "old == run_id"),
        ("return {}  # figures", "pass  # figures"),
    ),
    *of(
        "fedbench/execution/runner.py", "tests/execution/test_runner.py",
        ("seconds = earlier.seconds + time.perf_counter() - begun", "seconds = time.perf_counter() - begun"),
        ("    peak = max(earlier.peak, peak_memory())", "    peak = peak_memory()"),
        ("for name in (store.FAILURE, store.TRACEBACK):", "for name in ():"),
        ("with_attempt(earlier.attempts, training", "with_attempt([], training"),
    ),
    *of(
        "fedbench/execution/provenance.py", "tests/execution/test_runner.py",
        ("training.steps_per_round * task.training.rounds", "training.steps_per_round"),
        ("training.best.round if training.best", "training.best.round + 1 if training.best"),
        ('if attempt["from_round"] < round]', "]"),
    ),
    *of(
        "fedbench/commands/console.py", "tests/commands/test_console.py",
        ("done = so_far - sum(self.before.values())", "done = so_far"),
        ("self.before.setdefault(cell.id, self._share(cell.id))", "self.before[cell.id] = self._share(cell.id)"),
    ),
    *of(
        "fedbench/files.py", "tests/test_files.py",
        ("Path(name).unlink(missing_ok=True)", "pass"),
        ("        write(Path(name))", "        write(path)"),
        ("fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)", "fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)"),
        ("            os.fsync(stream.fileno())", "            pass"),
        ("    if before.is_dir() and not target.exists():\n        before.rename(target)\n    elif", "    if"),
        ("        target.rename(before)", "        shutil.rmtree(target)"),
    ),
    # -- data ----------------------------------------------------------------------------------------------------------
    *of(
        "fedbench/data/sealing.py", "tests/commands/test_preparing.py",
        ("FACTS: digest(facts)}", "FACTS: digest(sorted(facts))}"),
        ("MANIFEST: sha256(manifest),", "MANIFEST: digest(manifest.name),"),
        ("not isinstance(seal, dict) or seal.get(name)", "isinstance(seal, dict) and seal.get(name)"),
    ),
    *of(
        "fedbench/data/dealing.py", "tests/data/test_dealing.py",
        ("key=lambda m: len(hands[m])", "key=lambda m: -len(hands[m])"),
        ("config.class_skew * k * sizes", "config.class_skew * sizes"),
        ("max(1, round(stay * len(members)))", "round(stay * len(members))"),
        ("voxels / np.maximum(voxels.mean(axis=0), 1.0)", "voxels"),
    ),
    *of(
        "fedbench/data/resampling.py", "tests/data/test_preparation.py",
        ("offset = 0.5 * factor - 0.5", "offset = 0.5 * factor"),
        ("share >= most - EQUAL", "share > most"),
        ("1.0, rtol=1e-3)", "1.0, rtol=1e-1)"),
        ("np.maximum(factor - 1.0, 0.0) / 2.0", "np.maximum(factor - 1.0, 0.0) * 0.0"),
    ),
    *of(
        "fedbench/data/dicom.py", "tests/data/test_dicom.py",
        ("affine[:2] *= -1", "affine[:3] *= -1"),
        ("first.spacing[::-1, None]", "first.spacing[:, None]"),
        ("apply_rescale(stored, dataset).astype", "stored.astype"),
        ("(len(gaps) - 1) // 2", "len(gaps) // 2"),
    ),
    *of(
        "fedbench/reading.py", "tests/test_reading.py tests/faults/test_security.py",
        ('or name.startswith(".") or', "or"),
        ("            if size > most:", "            if part > most:"),
        ("max(8, chunk.total_uncompressed_size if", "max(8, 8 if"),
        ("    if size > MOST_BYTES:", "    if file.stat().st_size > MOST_BYTES:"),
    ),
    *of(
        "fedbench/sources.py", "tests/test_sources.py tests/test_layout.py",
        ("for base in cls.__mro__ if (source", "for base in cls.__mro__[:1] if (source"),
        ("todo += imported_from_folder(file)", "files |= set(imported_from_folder(file))"),
        ('"engine/reestimation", ', ""),
    ),
    # -- the conformance kit -------------------------------------------------------------------------------------------
    *of(
        "fedbench/testing/watching.py", "tests/conformance/test_wrong_algorithms.py",
        ("group.get(key, value) != value", 'key == "lr" and group[key] != value'),
        ("dict(optimizer.defaults)", "optimizer.param_groups[0]"),
        ("        self._as_given(", "        if len(self.steps[at]) < 2:\n            self._as_given("),
        ("for group in optimizer.param_groups:\n", "for group in optimizer.param_groups[-1:]:\n"),
    ),
    *of(
        "fedbench/testing/moving.py", "tests/conformance/test_wrong_algorithms.py",
        ("if cosine <= TOWARDS:", "if cosine < -2:"),
        ("> STILL * length", "> 1e9 * length"),
    ),
    *of(
        "fedbench/testing/values.py", "tests/conformance/test_wrong_algorithms.py",
        ("return not others", "return True"),
    ),
    # -- tuning --------------------------------------------------------------------------------------------------------
    *of(
        "fedbench/tuning/earlier.py", "tests/commands/test_tuning.py",
        ("if file.read_bytes() != content}", "if not content}"),
        ("for file in files if file.is_file()}", "for file in files[:3] if file.is_file()}"),
    ),
    *of(
        "fedbench/tuning/search.py", "tests/tuning/test_tuning.py",
        ("study.enqueue_trial(dict.fromkeys(space.values, 0))", "pass"),
        (" and name not in fixed:", ":"),
        ('derive_seed("tuning", seed, name)', 'derive_seed("tuning", seed)'),
    ),
    *of(
        "fedbench/tuning/trials.py", "tests/tuning/test_tuning.py tests/commands/test_tuning.py",
        ('"hide_test": True', '"hide_test": False'),
        ("mean(known) if len(known) == len(self.dice) else None", "mean(known) if known else None"),
        ("None if None in values else mean(", "mean("),
        ("by_round.iloc[-1] if rule", "by_round.iloc[0] if rule"),
        ("_try_own(_with(base, chosen), spaces", "_try_own(base, spaces"),
        ("max(scored, key", "max(scored[::-1], key"),
    ),
    *of(
        "fedbench/tuning/table.py", "tests/tuning/test_tuning.py tests/commands/test_tuning.py",
        ("rounds = tuning.rounds or tuned", "rounds = tuned"),
        ("if data.leave_out is not None:", "if False:"),
        ("if n == possible[name]]", "if n]"),
        ('"diverged": trial.score is None', '"diverged": not trial.dice'),
    ),
    *of(
        "fedbench/tuning/suite_file.py", "tests/tuning/test_tuning.py",
        ('values.get("training", {}) | training', "training"),
        ("listed.setdefault(same_run(setting), setting)", "listed.setdefault(setting, setting)"),
        ("label_of(listed[same_run(tuned.settings[tuned.reference])])", "tuned.reference"),
    ),
    # -- what runs are compared by -------------------------------------------------------------------------------------
    *of(
        "fedbench/differing.py", "tests/test_differing.py tests/analysis/test_attempts.py",
        ("[*(run.get(ATTEMPTS) or ())[:-1], run]", "[run]"),
        ("frame.sort_values(names, ignore_index=True, kind=\"stable\")", "frame.reset_index(drop=True)"),
        ("    if len(first) != len(second):", "    if len(first) < len(second):"),
        ('TIMED = ("seconds", "validation seconds")', 'TIMED = ("seconds",)'),
    ),
    *of(
        "fedbench/analysis/norms.py", "tests/analysis/test_norms.py tests/analysis/test_attempts.py",
        ("(second.values.loc[patients, new] - first", "(first.values.loc[patients, old] - first"),
        ("(own.low, own.high, runs.low, runs.high))", "(runs.low, runs.high, own.low, own.high))"),
        ('kept = ("dataset_content", "data")', 'kept = ("data",)'),
        ('sections = ("model", "training", "harness", "device")', 'sections = ("model", "training", "harness")'),
        ("if ours[name] != theirs[name]", "if False"),
    ),
    *of(
        "fedbench/analysis/statistics/calibration.py", "tests/analysis/statistics/test_calibration.py",
        ('"coverage": (below, above)', '"coverage": (above, below)'),
        ("ends.low > promised, ends.high < promised", "hits.mean() > promised, hits.mean() < promised"),
        (" & (means == tested), means", ", means"),
        ("(_holm(scores) < ALPHA) & (runs < ALPHA)", "(_holm(scores) < ALPHA)"),
        ("i >= k - scores.focus", "i < scores.focus"),
    ),
    *of(
        "fedbench/data/imaging.py", "tests/data/test_imaging.py",
        ('int(image.header["xyzt_units"]) % 8', "0"),
        ("        if stream.read(1):", "        if False:"),
        ("if known and packed !=", "if packed and packed !="),
        ("if not np.allclose(one, other, rtol=WHOLE", "if not np.allclose(one, one, rtol=WHOLE"),
    ),
    *of(
        "fedbench/data/preparation.py", "tests/data/test_preparation.py",
        ("stat.st_mtime_ns, stat.st_ctime_ns]", "stat.st_mtime_ns]"),
        ("[[case.id, case.patient, case.site] for", "[[case.id, case.patient] for"),
        ("            _require_absent(target)  # another", "            pass  # another"),
        ('f".{target.name}.fedbench-lock"', 'f"{target.name}.lock"'),
        ("if len({case.patient for case in cases}) > 1", "if len(cases) > 1"),
    ),
    *of(
        "fedbench/data/mapping.py", "tests/datasets/test_nnunet.py",
        ('unicodedata.normalize("NFC", cells.get(column, ""))', 'cells.get(column, "")'),
        ("(what, key.casefold())", "(what, key)"),
    ),
    *of(
        "fedbench/dataset.py", "tests/data/test_preparation.py",
        ("if deviation < TINY and deviation <= TINY * float(np.abs(clipped).max())", "if deviation < TINY"),
    ),
    # -- what the paper says -------------------------------------------------------------------------------------------
    *of(
        "fedbench/analysis/paper/longer.py", "tests/analysis/paper/test_convergence.py",
        (" or one[1:] != other[1:]", ""),
        ("one[0] >= other[0]", "one[0] > other[0]"),
        (" if rounds == longest)", ")"),
        ("key=lambda pair: (conditions.index(pair[0].condition), *pair[2])", "key=lambda pair: 0"),
        ("interval(gain.runs_low, gain.runs_high,", "interval(gain.low, gain.high,"),
        ('for name in ("model", "data"))', 'for name in ("data",))'),
        ('*kept, identity.get("dataset_content")', "*kept"),
        ('own[["seed", "fold", "partition"]]', 'own[["fold"]]'),
    ),
    *of(
        "fedbench/analysis/paper/overview.py", "tests/analysis/paper/test_overview.py",
        ("judge(analysis, label, analysis.reference)", "judge(analysis, analysis.reference, label)"),
        ("if not part.condition.unseen]\n    return sorted", "]\n    return sorted"),
        ('f"better than {reference} {RULE}"', 'f"worse than {reference} {RULE}"'),
        ("counted(len(parts), 'condition')", "counted(len(whole), 'condition')"),
    ),
    *of(
        "fedbench/analysis/paper/in_short.py", "tests/analysis/paper/test_glance.py",
        ("short(numbers, ground.to_reference,", "short(numbers, ground.compared,"),
        ('f"{rising_short(numbers, ended)} {more}"', "rising_short(numbers, ended)"),
        (" {idle(numbers, measured)}", ""),
        ('f"{primary} {besides}"', "primary"),
    ),
    *of(
        "fedbench/analysis/paper/answers/cross.py", "tests/analysis/paper/test_answers.py",
        ('in {better}, worse in {worse} and not distinguishable in {same} of "\n        f"{total} (mean',
         'in {worse}, worse in {better} and not distinguishable in {same} of "\n        f"{total} (mean'),
        ("setdefault((part.models(one), part.models(other)),", "setdefault((part.key, one, other),"),
        ("if counts.worse == counts.total:", "if counts.worse:"),
        ("if c.verdict is not Verdict.SAME}", "if c.verdict is Verdict.BETTER}"),
        ("if any(is_personal(c.other) for c in comparisons):", "if False:"),
    ),
    *of(
        "fedbench/analysis/paper/moved.py", "tests/analysis/paper/test_answers.py",
        ("(part.condition.dataset, own - other)", "(part.condition.dataset, other - own)"),
        (" and not is_personal(x))", ")"),
        ("< LOSS_NEAR and abs(", "< LOSS_NEAR or abs("),
        ("nunique().max() == 1", "nunique().min() == 1"),
        ("if all(v.within for", "if any(v.within for"),
    ),
    *of(
        "fedbench/analysis/paper/answers/alignment.py", "tests/analysis/paper/test_answers.py",
        ("v.accuracy is not None and not v.undecided for", "v.accuracy is not None for"),
        ("str(len(every) - many - easy)", "str(len(every) - easy)"),
        ("bool(own > other and means[POOLED] > means[reference])", "bool(own > other)"),
    ),
    # -- the rules for datasets --------------------------------------------------------------------------------------
    *of(
        "fedbench/testing/datasets/files.py", "tests/conformance/test_wrong_datasets.py",
        ("and path not in declared", "and path.suffix not in declared and not declared"),
        ("if found.problems:\n        return", "if found.problems or found.cases:\n        return"),
    ),
    *of(
        "fedbench/testing/datasets/answering.py", "tests/conformance/test_wrong_datasets.py",
        ("        _list_backwards()\n", ""),
    ),
    *of(
        "fedbench/testing/datasets/elsewhere.py", "tests/conformance/test_wrong_datasets.py",
        ("!= digest", "is None"),
    ),
    *of(
        "fedbench/testing/datasets/content.py", "tests/conformance/test_wrong_datasets.py",
        ("if other.modality != case.modality", "if other.patient != case.patient"),
        ("values == values[:, :1]", "values == values[:, :1] + 1"),
        ("if off <= tolerance", "if off <= 1"),
        ("SAME_VALUE * (high - low)", "high - low"),
    ),
    *of(
        "fedbench/testing/datasets/orientation.py", "tests/conformance/test_wrong_datasets.py",
        ("if np.array_equal(block, part)", "if block is part"),
    ),
]  # fmt: skip
