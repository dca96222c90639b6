"""One training loop for a population of models with a loss and samples, optionally with penalties on their samples."""

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor, nn

from moreso.guidance import Across, Guidance, Penalty, Push, RandomState, Spreads, seed_of, seeded, stack
from moreso.models import GenerativeModel, HasLearningRate, HasMemory, TakesMissing, draw_missing
from moreso.training.checkpoint import Checkpoint, Read, Resume, State, Trained, purpose
from moreso.training.device import machine, threads_for
from moreso.training.processes import Interrupt, Processes, part_name, parts_of
from moreso.training.progress import Bar
from moreso.training.stack import Alone, Carrier, Stack, named_tensors, noise_names, refusal, signature
from moreso.training.stream import Stream

VALIDATION_DRAWS = 256
"""Few validation rows are repeated to about this many, to average out the noise of a stochastic loss."""

LEARNING_RATE = 5e-3
"""The learning rate of models that have none of their own."""

NOISE_PACE = 10.0
"""Factor on the learning rate for the phase that trains the noise alone, with the networks' parameters fixed."""

PATIENT_STEPS, PATIENT_EPOCHS = 2000, 10
"""Epochs of long tables have many steps, so patience ends after this many steps, but not before this many epochs."""

BATCHES, SMALL, LARGE = 64, 128, 1024
"""By default an epoch has about so many batches, of at least `SMALL` and at most `LARGE` rows."""

FILLING = 256
"""Samples from which missing values are drawn anew, for models that cannot be trained on incomplete rows."""

RENEWAL = 4
"""Evaluations after which they are drawn anew. Samples of some models cost more than a step."""

STACKED = {"cpu": 48, "cuda": 1024}
"""The most members in one stack, by the type of the device; larger stacks no longer fit in a processor's cache."""


@dataclass(frozen=True)
class Schedule:
    """How long a model is trained, and on which rows.

    Args:
        validation: share of the rows used for early stopping, at least one row.
        batch_size: rows per step; if it exceeds the number of rows, an epoch is one step. By default it grows with the
            table, from 128 to 1024, see `BATCHES`.
        max_epochs: the most epochs to train, at least 1, including those of the noise.
        patience: epochs without improvement after which training stops; fewer on long tables, see `PATIENT_STEPS`. If
            the noise is trained alone afterwards, that ends after half as many.
        learning_rate: the learning rate of Adam; by default that of the model, or 0.005. The noise alone learns with
            `NOISE_PACE` times as much.
        interval: the least number of steps from one evaluation of the validation rows to the next, at the end of an
            epoch. It costs about as much as a step.
    """

    validation: float = 0.25
    batch_size: int | None = None
    max_epochs: int = 3000
    patience: int = 200
    learning_rate: float | None = None
    interval: int = 5

    def problems(self) -> list[str]:
        """Return what is wrong with the schedule, one sentence per problem."""
        if isinstance(self.max_epochs, Real) and 1 <= self.max_epochs < math.inf and self.max_epochs % 1 == 0:
            return []
        return [f"'max_epochs' must be a whole number of at least 1, got {self.max_epochs}. The default is 3000."]

    def batch(self, rows: int) -> int:
        """Return the number of rows per step for so many training rows."""
        return self.batch_size or min(max(SMALL, rows // BATCHES), LARGE)


@dataclass(frozen=True)
class History:
    """The history of a fit.

    Args:
        epochs: the number of epochs, including those of the noise alone.
        best_epoch: the epoch whose parameters were kept.
        validation_loss: the validation loss after each evaluated epoch.
        penalty: the last penalty before each evaluation; empty if there was none.
        interrupted: whether Ctrl-C ended the fit; the best parameters so far were kept.
        held: the share of statements that held in the samples of each of these penalties.
    """

    epochs: int
    best_epoch: int
    validation_loss: tuple[float, ...]
    penalty: tuple[float, ...]
    interrupted: bool = False
    held: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, history: dict[str, Any]) -> "History":
        """Return the history that `asdict` turned into values of JSON."""
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in history.items()}
        return cls(**values)


@dataclass(frozen=True)
class Member:
    """One model of a population, and what it is trained with.

    Args:
        model: a `GenerativeModel`, which is trained in place.
        rows: its training rows, standardised; NaN for a missing value. A model that was not built for these
            (`TakesMissing`) is trained on rows that it fills itself, anew after every `RENEWAL` evaluations: stochastic
            EM. A `Stream` gives the rows of each epoch as they are needed, which are then filled; its model is trained
            by itself.
        stops: the rows that stop it early.
        penalty: a scalar on samples, usually a `moreso.Regularizer`, or None.
        lane: members of one lane get the same random numbers; members whose results are averaged should be in
            different lanes.
        loggers: loggers of Lightning, which get 'validation_loss', 'penalty' and 'held', the share of statements that
            hold in samples, after each evaluation.
    """

    model: nn.Module
    rows: Float[Tensor, "n d"] | Stream
    stops: Float[Tensor, "v d"]
    penalty: Penalty | None = None
    lane: int = 0
    loggers: Sequence[Any] = ()


def fit(
    model: nn.Module,
    rows: Float[Tensor, "n d"],
    *,
    penalty: Penalty | None = None,
    guidance: Guidance | None = None,
    schedule: Schedule | None = None,
    fold: int = 0,
    random_state: RandomState = 0,
    progress: bool = False,
    label: str = "fit",
    fabric: Fabric | None = None,
    resume: Resume | None = None,
) -> History:
    """Train `model` in place, with early stopping on rows that it does not train on: a population of one, see `train`.

    Args:
        model: a `GenerativeModel`.
        rows: the rows, standardised; a share of them is held out for validation.
        penalty: a scalar on samples, usually a `moreso.Regularizer`.
        guidance: how strongly and how often the penalty is pushed.
        schedule: how long to train, and on which rows.
        fold: which share of the random order is held out for validation, counted from the end, from 0. Folds are
            disjoint.
        random_state: seed of the split, the order of the rows, the model's noise and the penalty's draws.
        progress: show a progress bar.
        label: the name of the progress bar.
        fabric: device, precision and loggers, as `machine` returns them; by default one CPU.
        resume: where checkpoints go.

    Raises:
        TypeError, ValueError: as `train`.
    """
    schedule, fabric, random_state = schedule or Schedule(), fabric or machine(), seed_of(random_state)
    train_rows, stops = (rows[part] for part in split(len(rows), schedule.validation, random_state, fold))
    member = Member(model, train_rows, stops, penalty, loggers=fabric.loggers)
    with Bar(shown=progress).showing() as bar:
        bar.expect(1)
        (history,) = train(
            [member],
            guidance=guidance,
            schedule=schedule,
            random_state=random_state,
            bar=bar,
            label=label,
            fabric=fabric,
            resume=resume,
        )
    return history


def train(
    members: Sequence[Member],
    *,
    guidance: Guidance | None = None,
    schedule: Schedule | None = None,
    random_state: RandomState = 0,
    bar: Bar | None = None,
    label: str = "fit",
    fabric: Fabric | None = None,
    strategy: str = "auto",
    resume: Resume | None = None,
) -> list[History]:
    """Train the models of a population in place, each with early stopping on its own rows.

    Each step descends on `model.loss(batch) + weight * penalty(model.sample(draws))` of every member. The penalties'
    draws use their own random numbers, so that a fit with weight 0 is bit-identical to one without penalties. Each
    member keeps the parameters of the epoch with its lowest validation loss (without the penalty), even if Ctrl-C ends
    the training early, and leaves the population when it has stopped. No global random state is changed.

    Members of one architecture, with as many rows, are stacked: one call of PyTorch computes all of them. Models that
    `torch.func.vmap` refuses are trained one after the other, and a warning says so. Random numbers of a member
    depend on the seed and on its lane alone, so it becomes, but for rounding, what it would become without the others.

    For models that have noise (`HasNoise`), a second phase starts from these parameters and trains the noise alone,
    with the same penalties and fresh patience. It is skipped after Ctrl-C, and by members that have used up
    `max_epochs`.

    If a training was killed, a call with the same arguments resumes from its checkpoint, with bit-identical results.

    Several processes call this with the same arguments, and all return the same. By the strategy "ddp" each of them
    computes on its share of the rows of every batch, and of a penalty's draws if the penalty can be spread
    (`moreso.guidance.Spreads`): losses without random numbers have the gradients of one process. By "members" each
    trains its share of the population, which becomes what it would become in one process. A training that was killed
    resumes with any number of processes: by "ddp" to the same bits with as many as before; by "members" in as many
    parts as it had.

    Args:
        members: the population; each has a penalty, or none has.
        guidance: how strongly and how often the penalties are pushed.
        schedule: how long to train; its share of validation rows is not used, since members bring theirs.
        random_state: seed of the order of the rows, the models' noise and the penalties' draws.
        bar: shows the progress.
        label: the text beside it.
        fabric: devices and precision, as `machine` returns them, launched if there are several; by default one CPU.
        strategy: what several processes share: "ddp", "members", or "auto"; see `STRATEGIES`.
        resume: where checkpoints go. The checkpoint of a fit with other rows, settings, models or penalties is refused;
            but penalties that are not modules cannot be distinguished.

    Returns:
        The history of each member. After Ctrl-C, members whose turn had not come are missing at the end.

    Raises:
        TypeError: a model has no `loss` or no `sample`.
        ValueError: settings are out of range, the precision is "16-mixed", a model cannot be trained on a stream, the
            strategy "ddp" would split the batches of a model that `HasMemory`, a validation loss is not finite, or
            samples are not finite (the error names the step).
    """
    guidance, schedule, fabric = guidance or Guidance(), schedule or Schedule(), fabric or machine()
    random_state = seed_of(random_state)
    processes = Processes.of(fabric)
    apart = strategy == "members" or (strategy == "auto" and _shares_models(members, processes))
    _check(members, guidance, schedule, fabric, split=processes.size > 1 and not apart)
    done: dict[int, History] = {}
    lanes = 1 + max(member.lane for member in members)
    stacks = list(_stacks(members, fabric))
    together = Processes() if apart else processes
    for own, file in _turns(stacks, resume, processes, apart=apart):
        chosen = [members[place] for place in own.places]
        loop = _Loop(chosen, lanes, guidance, schedule, fabric, random_state, alone=own.alone, processes=together)
        histories = loop.run(bar, label, file)
        done |= dict(zip(own.places, histories, strict=True))
        if histories[-1].interrupted:
            break
    if apart and processes.size > 1:
        done = _exchange(members, done, processes)
    count = next((place for place in range(len(members)) if place not in done), len(members))
    return [done[place] for place in range(count)]


def _shares_models(members: Sequence[Member], processes: Processes) -> bool:
    """Return whether processes had better share models than rows."""
    return len(members) >= processes.size or any(isinstance(member.model, HasMemory) for member in members)


class _Together(NamedTuple):
    """Members that are trained at once.

    Args:
        places: their positions in the population.
        alone: whether they cannot be stacked, or have nobody to be stacked with.
    """

    places: list[int]
    alone: bool


def _turns(
    stacks: Sequence[_Together], resume: Resume | None, processes: Processes, *, apart: bool
) -> Iterator[tuple[_Together, Resume | None]]:
    """Yield what this process trains, one after the other, and its checkpoint.

    Args:
        stacks: the members that can be trained at once.
        resume: where checkpoints go.
        processes: all processes.
        apart: whether each trains its share of the members.
    """
    ends = ["", *(f"-{turn + 1}" for turn in range(1, len(stacks)))]
    names = [] if resume is None else [f"{resume.path}{end}" for end in ends]
    parts = parts_of(names, processes) if apart else 1
    for turn, whole in enumerate(stacks):
        for part in range(parts):
            places = whole.places[part::parts]
            if places and (not apart or part % processes.size == processes.rank):
                file = None if resume is None else replace(resume, path=part_name(names[turn], part, parts))
                yield _Together(places, whole.alone), file


def _exchange(members: Sequence[Member], done: dict[int, History], processes: Processes) -> dict[int, History]:
    """Return the histories of all members, after all processes have sent each other the models that they trained."""
    every: dict[int, History] = {}
    own = json.dumps({place: asdict(history) for place, history in done.items()})
    for rank in range(processes.size):
        found = json.loads(processes.send_text(own, rank))
        for place, history in found.items():
            member = members[int(place)]
            model = member.model.to(processes.device)
            if rank != processes.rank and isinstance(model, HasMemory) and isinstance(member.rows, Tensor):
                model.remember(member.rows.to(processes.device))
            processes.send([each.detach() for _, each in named_tensors(model)], rank)
            model.eval()
            every[int(place)] = History.from_dict(history)
    if len(every) < len(members) or any(history.interrupted for history in every.values()):
        return {place: replace(history, interrupted=True) for place, history in every.items()}
    return every


class _Phase(NamedTuple):
    """A part of the training.

    Args:
        names: the parameters that are trained.
        rate: their learning rate.
        patience: epochs without improvement that end it.
    """

    names: Sequence[str]
    rate: float
    patience: int


class _Loop:
    """The training of members that are stacked, or of one.

    Args:
        members: those of the population that are trained at once.
        lanes: the number of lanes of the population.
        guidance: see `train`.
        schedule: see `train`.
        fabric: see `train`.
        random_state: see `train`.
        alone: whether the one member is trained as it is, without a stack.
        processes: those that share every batch.
    """

    def __init__(
        self,
        members: Sequence[Member],
        lanes: int,
        guidance: Guidance,
        schedule: Schedule,
        fabric: Fabric,
        random_state: int,
        *,
        alone: bool,
        processes: Processes,
    ) -> None:
        self.members, self.guidance, self.schedule, self.fabric = members, guidance, schedule, fabric
        self.alone, self.processes = alone, processes
        self.seed, self.device, self.lanes = random_state, fabric.device, lanes
        self.interrupt = Interrupt()
        first = members[0].rows
        self.stream = None if isinstance(first, Tensor) else first
        whole = [member.rows for member in members if isinstance(member.rows, Tensor)]
        for member in members:
            member.model.to(self.device)
            if isinstance(member.model, HasMemory) and isinstance(member.rows, Tensor):
                member.model.remember(member.rows.to(self.device))
        # Rows of a stream are read epoch by epoch.
        self.rows = (torch.stack(whole) if whole else torch.empty(1, 0, first.shape[1])).to(self.device)
        stops = torch.stack([member.stops for member in members])
        missing = bool(self.rows.isnan().any() or stops.isnan().any())
        if self.stream is not None:
            missing |= self.stream.missing
        self.stops = stops.repeat(1, max(1, VALIDATION_DRAWS // stops.shape[1]), 1).to(self.device)
        # Training rows and stopping rows as the models fill them, if they have to. Instead of the rows of a stream, the
        # samples from which its epochs are filled.
        fills = missing and not takes_missing(members[0].model)
        rows = self.rows if self.stream is None else self.stops.new_empty(1, FILLING, first.shape[1])
        self.filled = [rows.clone(), self.stops.clone()] if fills else []
        self.batch = schedule.batch(first.shape[0])
        steps = math.ceil((first.shape[0] if self.stream is None else self.stream.longest) / self.batch)
        self.interval = math.ceil(schedule.interval / steps)
        patience = min(schedule.patience, max(PATIENT_EPOCHS, math.ceil(PATIENT_STEPS / steps)))
        model = members[0].model
        noise = noise_names(model)
        self.buffers = [name for name, _ in model.named_buffers()]
        learnt = [name for name, each in model.named_parameters() if each.requires_grad]
        rate = schedule.learning_rate or (model.learning_rate if isinstance(model, HasLearningRate) else LEARNING_RATE)
        self.phases = [_Phase(learnt, rate, patience)]
        if noise:
            self.phases = [_Phase(learnt, rate, patience), _Phase(noise, NOISE_PACE * rate, math.ceil(patience / 2))]

    def run(self, bar: Bar | None, label: str, resume: Resume | None) -> list[History]:
        """Train all phases, and return the histories."""
        interrupted = False
        with seeded(self.seed, self.device):
            # The text of a module of zuko draws random numbers.
            text = "" if resume is None else self._purpose()
        # Processes that share a batch draw other noise for their rows.
        noise = seeded(self.seed + self.processes.rank, self.device)
        with noise, self.interrupt.noting(self.processes), threads_for(self._work()):
            file = Checkpoint(resume, text, self.processes)
            read = file.read()
            state = State.of(len(self.members)) if read is None else read.state
            kept = self._tensors() if read is None else {k: v.to(self.device) for k, v in read.part("kept.").items()}
            try:
                while state.phase < len(self.phases):
                    if read is None:
                        self._restore(kept)
                        state.keep([i for i, each in enumerate(state.members) if self._goes_on(state.phase, each)])
                    carrier = self._carrier(state.active) if state.active else None
                    if carrier is not None:
                        try:
                            self._phase(state, carrier, kept, file, read, bar, label)
                        finally:
                            carrier.move(carrier.names)
                    read = None
                    state.end_phase()
            except KeyboardInterrupt:
                interrupted = True
            self._restore(kept)
            file.end(state, kept, interrupted=interrupted)
        for member in self.members:
            member.model.eval()
            for logger in self._loggers(member):
                logger.finalize("success")
        if bar is not None:
            bar.finish(len(self.members))
        return [
            History(
                each.epochs, each.best_epoch, tuple(each.losses), tuple(each.penalties), interrupted, tuple(each.shares)
            )
            for each in state.members
        ]

    def _phase(
        self,
        state: State,
        carrier: Carrier,
        kept: dict[str, Tensor],
        file: Checkpoint,
        read: Read | None,
        bar: Bar | None,
        label: str,
    ) -> None:
        """Train until every member has stopped."""
        names, rate, _ = self.phases[state.phase]
        carrier.move(names)
        if read is not None:
            filled = {str(place): each for place, each in enumerate(self.filled)}
            for prefix, present in (("now.", carrier.tensors()), ("filled.", filled)):
                for name, each in read.part(prefix).items():
                    present[name].copy_(each)
        optimizer = _adam(carrier.moved, rate)
        push = self._push(carrier, state.active)
        if read is not None:
            read.restore(optimizer, push, self.processes.rank)
        while state.active:
            places = torch.tensor(state.active, device=self.device)
            self._fill(state, carrier, places)
            rows, stops = self.filled or (self.rows, self.stops)
            self._epochs(state, carrier, optimizer, push, rows[places])
            better = self._record(state, self._validate(carrier, stops[places]))
            if better:
                now = carrier.tensors()
                every, own = torch.tensor([state.active[i] for i in better]), torch.tensor(better)
                for name, each in kept.items():
                    each[every.to(self.device)] = now[name][own.to(self.device)]
            if bar is not None:
                bar.update(label, [self._share(state.phase, each) for each in state.members])
            stay = [i for i, place in enumerate(state.active) if self._goes_on(state.phase, state.members[place])]
            if len(stay) < len(state.active):
                index = torch.tensor(stay, device=self.device, dtype=torch.long)
                state.keep([state.active[i] for i in stay])
                if not state.active:
                    break
                carrier.keep(index)
                optimizer = _adam_of(optimizer, carrier.moved, rate, index)
                if push is not None:
                    push.keep(index)
            if file.due(state):
                file.write(state, kept, carrier.tensors(), optimizer, push, self.filled)

    def _validate(self, carrier: Carrier, stops: Tensor) -> list[float]:
        """Return the validation losses on which all processes agree.

        Raises:
            KeyboardInterrupt: Ctrl-C came to one of several processes.
        """
        now = carrier.tensors()
        self.processes.send([now[name] for name in self.buffers])
        with self.fabric.autocast(), seeded(0, self.device):
            losses = carrier.validation_loss(stops).reshape(-1)
        agreed, stop = self.processes.agree(losses, stop=self.interrupt.came)
        if stop:
            raise KeyboardInterrupt
        return agreed

    def _epochs(
        self, state: State, carrier: Carrier, optimizer: torch.optim.Optimizer, push: Push | None, rows: Tensor
    ) -> None:
        """Take the steps until the next evaluation."""
        left = self.schedule.max_epochs - max(state.members[place].epochs for place in state.active)
        added = None
        for _ in range(min(self.interval, left)):
            now = rows if self.stream is None else self._read(self.stream, state, rows)
            for batch in _batches(now, self.batch, self.processes):
                optimizer.zero_grad()
                own, share = self.processes.share(batch)
                with self.fabric.autocast():
                    loss = carrier.loss(own)
                self.fabric.backward(loss.sum() if share == 1 else share * loss.sum())
                self.processes.add_gradients(carrier.moved)
                if push is not None and state.step % self.guidance.every == 0:
                    added = push.add(carrier.moved, step=state.step) or added
                optimizer.step()
                state.take_step()
            for place in state.active:
                state.members[place].take_epoch()
        if added is not None:
            pushed = (each.reshape(-1).tolist() for each in (added.penalty, added.held))
            for place, penalty, held in zip(state.active, *pushed, strict=True):
                state.members[place].push(penalty, held)

    def _read(self, stream: Stream, state: State, samples: Tensor) -> Tensor:
        """Return the rows of the next epoch, filled from samples if the model needs that."""
        rows = stream.epoch(state.members[state.active[0]].epochs).to(self.device)
        if self.filled and (incomplete := rows.isnan().any(1)).any():
            rows = rows.index_put((incomplete,), draw_missing(rows[incomplete], samples[0]))
        return rows[None]

    def _fill(self, state: State, carrier: Carrier, places: Tensor) -> None:
        """Draw the missing values of the active members' rows from these, if that is due."""
        if not self.filled or len(state.members[state.active[0]].losses) % RENEWAL:
            return
        with torch.no_grad():
            samples = carrier.sample(FILLING).reshape(len(places), FILLING, -1)
            rows, stops = self.filled
            rows[places] = samples if self.stream is not None else draw_missing(self.rows[places], samples)
            stops[places] = draw_missing(self.stops[places], samples)

    def _record(self, state: State, losses: Sequence[float]) -> list[int]:
        """Record validation losses and penalties, and return the positions of the active members that improved."""
        if not all(map(math.isfinite, losses)):
            bad = next(loss for loss in losses if not math.isfinite(loss))
            raise ValueError(f"the model's loss became {bad}. Lower the learning rate or scale the columns.")
        better = []
        for index, (place, loss) in enumerate(zip(state.active, losses, strict=True)):
            each = state.members[place]
            if each.evaluate(loss):
                better.append(index)
            metrics = {"validation_loss": loss}
            if self._pushes:
                each.record_push()
                metrics |= {"penalty": each.pushed, "held": each.held}
            for logger in self._loggers(self.members[place]):
                logger.log_metrics(metrics, step=each.epochs)
        return better

    def _loggers(self, member: Member) -> Sequence[Any]:
        """Return a member's loggers, of which the first process takes care."""
        return () if self.processes.rank else member.loggers

    def _goes_on(self, phase: int, member: Trained) -> bool:
        return member.epochs < self.schedule.max_epochs and member.waited() <= self.phases[phase].patience

    def _share(self, phase: int, member: Trained) -> float:
        """Return the share of a member's training that is over if nothing gets better any more."""
        if phase == len(self.phases) - 1 and not self._goes_on(phase, member):
            return 1.0
        own = member.epochs - member.began
        share = (
            1.0 if not self._goes_on(phase, member) else own / (own + self.phases[phase].patience + 1 - member.waited())
        )
        return (phase + share) / len(self.phases)

    def _work(self) -> int:
        """Return the rows times the parameters of a step."""
        parameters = sum(each.numel() for each in self.members[0].model.parameters())
        return len(self.members) * min(self.batch, self.members[0].rows.shape[0]) * parameters

    @property
    def _pushes(self) -> bool:
        return self.members[0].penalty is not None and self.guidance.weight != 0

    def _push(self, carrier: Carrier, active: Sequence[int]) -> Push | None:
        if not self._pushes:
            return None

        def draw(n: int) -> Tensor:
            with self.fabric.autocast():
                return carrier.sample(n)

        penalties = [member.penalty for member in self.members if member.penalty is not None]
        for each in penalties:
            if isinstance(each, nn.Module):
                each.to(self.device)
        whole = penalties[0] if self.alone else stack(penalties).keep(torch.tensor(active, device=self.device))
        across = Across.APART
        if self.processes.size > 1:
            across = Across.SUM if isinstance(whole, Spreads) else Across.MEAN
            whole = whole.spread(dist.group.WORLD) if isinstance(whole, Spreads) else whole
        return Push(draw, whole, self.guidance, random_state=self.seed, across=across)

    def _carrier(self, active: Sequence[int]) -> Carrier:
        chosen = [self.members[place] for place in active]
        models = [member.model for member in chosen]
        if self.alone:
            return Alone(models[0])
        return Stack(models, [member.lane for member in chosen], self.lanes)

    def _tensors(self) -> dict[str, Tensor]:
        """Return copies of the tensors of all models, stacked."""
        every = [dict(named_tensors(member.model)) for member in self.members]
        return {name: torch.stack([own[name].detach() for own in every]) for name in every[0]}

    def _restore(self, kept: dict[str, Tensor]) -> None:
        """Copy tensors into the models."""
        with torch.no_grad():
            for index, member in enumerate(self.members):
                for name, each in named_tensors(member.model):
                    each.copy_(kept[name][index])

    def _purpose(self) -> str:
        # The number of epochs is left out, so that a longer fit may resume from a shorter one.
        schedule = self.batch, self.phases, self.interval
        where = self.device.type, self.fabric.strategy.precision.precision
        both = [each for member in self.members for each in (member.rows, member.stops)]
        rows = [each for each in both if isinstance(each, Tensor)]
        streams = [each.fingerprint for each in both if not isinstance(each, Tensor)]
        modules = [each for member in self.members for each in (member.model, member.penalty)]
        lanes = self.lanes, [member.lane for member in self.members]
        return purpose(rows, modules, (self.guidance, *schedule, self.seed, *where, NOISE_PACE, *lanes, *streams))


def split(
    n: int, validation: float, random_state: int, fold: int = 0, *, strata: Int[Tensor, " n"] | None = None
) -> tuple[Int[Tensor, " t"], Int[Tensor, " v"]]:
    """Return which of n rows `fit` trains on, and its validation rows, at least one.

    Args:
        n: the number of rows.
        validation: the share of validation rows.
        random_state: the seed of their order.
        fold: which share of this order is held out, counted from the end, from 0.
        strata: a number for each row; every fold has the same share of the rows of each number, up to one row.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(random_state))
    if strata is not None:
        order = order[_spread(strata[order]).argsort(stable=True)]
    held, most = _held(n, validation), most_folds(n, validation)
    if not 0 <= fold < most:
        raise ValueError(
            f"'fold' must be from 0 to {most - 1}, got {fold}. {n} rows at {validation} each have no other."
        )
    start, stop = n - (fold + 1) * held, n - fold * held
    return torch.cat([order[:start], order[stop:]]), order[start:stop]


def _spread(strata: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return places from 0 to 1 at which the rows of each stratum are evenly spaced."""
    places = torch.empty(len(strata), dtype=torch.float64)
    for stratum in strata.unique():
        own = (strata == stratum).nonzero()[:, 0]
        places[own] = (torch.arange(len(own), dtype=torch.float64) + 0.5) / len(own)
    return places


def most_folds(n: int, validation: float) -> int:
    """Return the number of disjoint sets of validation rows in n rows."""
    return n // _held(n, validation)


def _held(n: int, validation: float) -> int:
    return max(1, round(validation * n))


def _check(members: Sequence[Member], guidance: Guidance, schedule: Schedule, fabric: Fabric, *, split: bool) -> None:
    for member in members:
        if not isinstance(member.model, GenerativeModel):
            raise TypeError(
                f"the model must have 'loss(x)' and 'sample(n)', got {type(member.model).__name__}. See moreso.models."
            )
    problems = guidance.problems() + schedule.problems()
    for member in members:
        if not isinstance(member.rows, Tensor):
            problems += stream_problems(member.model, f"a '{type(member.model).__name__}'")
    if fabric.strategy.precision.precision == "16-mixed":
        problems.append("the precision '16-mixed' scales the loss and not the penalty. Take 'bf16-mixed'.")
    if split and any(isinstance(member.model, HasMemory) for member in members):
        kind = type(members[0].model).__name__
        problems.append(f"a model of class '{kind}' needs batches whole. Take the strategy 'members', or one device.")
    if problems:
        raise ValueError("\n".join(problems))


def stream_problems(model: nn.Module, called: str) -> list[str]:
    """Return why a model cannot be trained on rows that are read as they are needed.

    Args:
        model: the model.
        called: what the sentences call the model.
    """
    if isinstance(model, HasMemory):
        return [f"{called} keeps all training rows, which are too many for memory. Take another model, or fewer rows."]
    return []


def _stacks(members: Sequence[Member], fabric: Fabric) -> Iterator[_Together]:
    """Yield members that are trained together."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, member in enumerate(members):
        # What one stream reads is for one model.
        own = place if not isinstance(member.rows, Tensor) else None
        shapes = tuple(member.rows.shape), tuple(member.stops.shape), own
        alike.setdefault((signature(member.model), *shapes, member.penalty is None), []).append(place)
    for places in alike.values():
        first = [members[place] for place in places[:2]]
        reason = ""
        if len(places) > 1:
            rows = first[0].rows
            assert isinstance(rows, Tensor)
            complete = rows if takes_missing(first[0].model) else rows.nan_to_num()
            reason = refusal([member.model for member in first], complete)
        if reason:
            warnings.warn(
                f"the {len(places)} models of class '{type(first[0].model).__name__}' are trained one after the other, "
                f"since PyTorch cannot stack them: {reason}. This takes longer and changes nothing else.",
                stacklevel=3,
            )
        size = 1 if reason else STACKED.get(fabric.device.type, STACKED["cpu"])
        for start in range(0, len(places), size):
            yield _Together(places[start : start + size], len(places) == 1 or bool(reason))


def takes_missing(model: nn.Module) -> bool:
    """Whether a model is trained on rows with missing values as they are."""
    return isinstance(model, TakesMissing) and model.missing


def _batches(rows: Tensor, size: int, processes: Processes) -> Iterator[Tensor]:
    """Yield batches of the rows of all members, in random order."""
    n = rows.shape[1]
    if size >= n:
        yield rows
        return
    order = torch.randperm(n, device=rows.device)
    processes.send([order])
    for part in order.split(size):
        yield rows[:, part]


def _adam(moved: Sequence[Tensor], rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(moved, lr=rate, fused=True)


def _adam_of(
    former: torch.optim.Optimizer, moved: Sequence[Tensor], rate: float, members: Int[Tensor, " m"]
) -> torch.optim.Adam:
    """Return the optimizer of some members, with their moments."""
    optimizer = _adam(moved, rate)
    states = former.state_dict()["state"]
    chosen = {
        index: {key: value[members] if value.ndim else value for key, value in own.items()}
        for index, own in states.items()
    }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": chosen})
    return optimizer
