"""Models of other libraries, each trained as in its own tutorial, without knowledge or with it by one line.

A host is a function of training rows, statements or None, and a seed; it returns what samples a table, and how many
steps it took. `HOSTS` names the package that it needs and the table that it is trained on.
"""

import logging
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from moreso import Knowledge, Regularizer, adapters
from moreso.guidance import Penalty, Term, forked

Sampler = Callable[[int], pd.DataFrame]
Fit = Callable[[pd.DataFrame, Knowledge | None, int], tuple[Sampler, int]]

BATCH, EPOCHS = 50, 300
MARGIN = 1.0
"""Standard errors: the margin that the published table was measured with. The default of moreso is 4."""


@dataclass(frozen=True)
class Units:
    """Standardised rows, and the way back.

    Args:
        train: the rows.
    """

    train: pd.DataFrame

    @property
    def rows(self) -> Tensor:
        """The rows, standardised."""
        z = (self.train - self.train.mean()) / self.train.std(ddof=0)
        return torch.tensor(z.to_numpy(), dtype=torch.float32)

    def back(self, x: Tensor) -> pd.DataFrame:
        """Return standardised samples as a table."""
        drawn = pd.DataFrame(x.detach().double().numpy(), columns=self.train.columns)
        return drawn * self.train.std(ddof=0) + self.train.mean()

    def penalty(self, knowledge: Knowledge | None) -> Regularizer | None:
        """Return the loss term on standardised samples, if there is knowledge."""
        return None if knowledge is None else penalty(knowledge, self.train, self.rows)

    def sampler(self, sample: Callable[[int], Tensor], seed: int) -> Sampler:
        """Return what samples a table, with random numbers of its own."""

        def drawn(n: int) -> pd.DataFrame:
            with forked(seed), torch.no_grad():
                return self.back(sample(n))

        return drawn


def penalty(knowledge: Knowledge, train: pd.DataFrame, rows: Tensor) -> Regularizer:
    """Return the loss term on samples in the form of rows, which have the columns of the table."""
    return Regularizer(knowledge, list(map(str, train)), data=rows, margin=MARGIN)


def within(attach: Callable[..., Any], pushed: Penalty | None, *model: Any, **settings: Any) -> Any:
    """Return the block around a training: that of an adapter, or none without a penalty."""
    return nullcontext() if pushed is None else attach(*model, pushed, **settings)


class Late:
    """The loss term on draws of CTGAN and TVAE, made at the first of them: they learn their columns within the fit.

    Args:
        table: `adapters.ctgan.Table` or `adapters.sdv.Synthesizer` of the model.
        knowledge: statements about columns of the table.
        data: rows that fix the kernels' bandwidths; by default the library's mixtures do.
    """

    def __init__(self, table: Any, knowledge: Knowledge, data: pd.DataFrame | None = None) -> None:
        self.table, self.knowledge, self.data = table, knowledge, data
        self._made: Regularizer | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty on draws."""
        return self.measure(x).value

    def measure(self, x: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return what the regularizer measures."""
        if self._made is None:
            made: Regularizer = self.table.regularizer(self.knowledge, self.data)
            made.margin = MARGIN
            self._made = made
        return self._made.measure(x, standard_error)


def tabular(name: str) -> Fit:
    """Return how CTGAN or TVAE is fitted."""

    def fit(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
        model = getattr(import_module("ctgan"), name)(enable_gpu=False)
        model.set_random_state(seed)
        late = None if knowledge is None else Late(adapters.ctgan.Table(model), knowledge, train)
        with within(adapters.ctgan.attach, late, model):
            model.fit(train)
        return model.sample, 300

    return fit


def sdv(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit SDV's TVAESynthesizer."""
    columns = {str(name): {"sdtype": "numerical"} for name in train}
    metadata = import_module("sdv.metadata").Metadata.load_from_dict({"tables": {"rows": {"columns": columns}}})
    with forked(seed):
        model = import_module("sdv.single_table").TVAESynthesizer(metadata, enable_gpu=False)
        late = None if knowledge is None else Late(adapters.sdv.Synthesizer(model), knowledge)
        with within(adapters.sdv.attach, late, model):
            model.fit({"rows": train.reset_index(drop=True)})

    def sample(n: int) -> pd.DataFrame:
        with forked(seed):
            drawn: pd.DataFrame = model.sample(n)["rows"]
        return drawn

    return sample, 300


def flow(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a neural spline flow of zuko, with a push at every fifth step, since it draws column by column."""
    units = Units(train)
    with forked(seed):
        made = import_module("zuko").flows.NSF(train.shape[1], transforms=2, hidden_features=(64, 64))
        with within(adapters.distributions.attach, units.penalty(knowledge), made, every=5):
            steps = descend(made, lambda x: -made().log_prob(x).mean(), units.rows, max(1, EPOCHS // 5))
    return units.sampler(lambda n: made().sample((n,)), seed), steps


def lightning(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a VAE by Lightning's trainer."""
    pl = import_module("lightning.pytorch")
    units = Units(train)

    class Module(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.vae = import_module("moreso.models").VAE(train.shape[1])

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            loss: Tensor = self.vae.loss(batch[0])
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    quiet = ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with forked(seed):
        module = Module()
        callbacks = []
        if (pushed := units.penalty(knowledge)) is not None:
            callbacks = [adapters.lightning.Callback(pushed, lambda host, n: host.vae.sample(n))]
        trainer = pl.Trainer(
            max_epochs=EPOCHS, accelerator="cpu", devices=1, callbacks=callbacks, **dict.fromkeys(quiet, False)
        )
        trainer.fit(module, DataLoader(TensorDataset(units.rows), batch_size=BATCH, shuffle=True))
    return units.sampler(module.vae.eval().sample, seed), trainer.global_step


def pyro(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a VAE of Pyro by stochastic variational inference."""
    library, infer = import_module("pyro"), import_module("pyro.infer")
    dist = library.distributions
    units, k = Units(train), 5
    library.clear_param_store()

    def network(width: int, out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, out))

    def model(x: Tensor) -> None:
        library.module("decoder", decoder)
        scale = library.param("scale", torch.ones(train.shape[1]), constraint=dist.constraints.positive)
        with library.plate("rows", len(x)):
            z = library.sample("z", dist.Normal(0.0, 1.0).expand([k]).to_event(1))
            library.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        library.module("encoder", encoder)
        with library.plate("rows", len(x)):
            mean, log_scale = encoder(x).chunk(2, dim=1)
            library.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))

    with forked(seed):
        encoder, decoder = network(train.shape[1], 2 * k), network(k, train.shape[1])
        svi = infer.SVI(model, guide, library.optim.Adam({"lr": 1e-3}), infer.Trace_ELBO())
        batches: DataLoader[Tensor] = DataLoader(units.rows, batch_size=BATCH, shuffle=True)  # type: ignore[arg-type]
        with within(adapters.pyro.attach, units.penalty(knowledge), svi, "x"):
            for _ in range(EPOCHS):
                for batch in batches:
                    svi.step(batch)
    return units.sampler(adapters.pyro.Model(model, "x").sample, seed), EPOCHS * len(batches)


def gpytorch(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a Bayesian GP-LVM of GPyTorch."""
    library, gplvm = import_module("gpytorch"), import_module("gpytorch.models.gplvm")
    units, k = Units(train), 5
    (n, d), batch = train.shape, torch.Size([train.shape[1]])

    class Model(gplvm.BayesianGPLVM):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            prior = library.priors.NormalPrior(torch.zeros(n, k), torch.ones(n, k))
            _, _, axes = torch.pca_lowrank(units.rows, k, niter=10)
            start = nn.Parameter(units.rows @ axes / (units.rows @ axes).std(0))
            distribution = library.variational.CholeskyVariationalDistribution(25, batch_shape=batch)
            strategy = library.variational.VariationalStrategy(self, torch.randn(d, 25, k), distribution)
            super().__init__(gplvm.VariationalLatentVariable(n, d, k, start, prior), strategy)
            self.mean = library.means.ZeroMean(batch_shape=batch)
            kernel = library.kernels.RBFKernel(ard_num_dims=k, batch_shape=batch)
            self.kernel = library.kernels.ScaleKernel(kernel, batch_shape=batch)

        def forward(self, z: Tensor) -> Any:
            return library.distributions.MultivariateNormal(self.mean(z), self.kernel(z))

    steps = 500
    with forked(seed):
        model, likelihood = Model(), library.likelihoods.GaussianLikelihood(batch_shape=batch)
        objective = library.mlls.VariationalELBO(likelihood, model, num_data=n)
        optimizer = torch.optim.Adam([*model.parameters(), *likelihood.parameters()], lr=0.02)
        with within(adapters.gpytorch.attach, units.penalty(knowledge), model, likelihood):
            for _ in range(steps):
                optimizer.zero_grad()
                (-objective(model(model.sample_latent_variable()), units.rows.T).sum()).backward()
                optimizer.step()
    return units.sampler(adapters.gpytorch.GPLVM(model, likelihood).sample, seed), steps


def pythae(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a VAE of pythae by its pipeline."""
    models, trainers = import_module("pythae.models"), import_module("pythae.trainers")
    units = Units(train)
    logging.disable(logging.WARNING)
    with forked(seed), tempfile.TemporaryDirectory() as folder:
        model = models.VAE(models.VAEConfig(input_dim=(train.shape[1],), latent_dim=5))
        pace = {"learning_rate": 1e-3, "per_device_train_batch_size": BATCH, "num_epochs": EPOCHS}
        config = trainers.BaseTrainerConfig(output_dir=folder, no_cuda=True, seed=seed, **pace)
        pipeline = import_module("pythae.pipelines").TrainingPipeline(model, config)
        with within(adapters.pythae.attach, units.penalty(knowledge), model):
            pipeline(train_data=units.rows)
        best = models.AutoModel.load_from_folder(f"{pipeline.trainer.training_dir}/final_model")
    logging.disable(logging.NOTSET)
    return units.sampler(import_module("pythae.samplers").NormalSampler(best).sample, seed), 3 * EPOCHS


def diffusers(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a diffusion of columns with the schedulers of diffusers, and push a few steps of DDIM."""
    library = import_module("diffusers")
    units, d = Units(train), train.shape[1]
    velocity = {"prediction_type": "v_prediction", "clip_sample": False}
    noising = library.DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", **velocity)
    few = library.DDIMScheduler.from_config(noising.config, timestep_spacing="trailing")

    def predict(x: Tensor, t: Tensor) -> Tensor:
        made: Tensor = net(torch.cat([x, t.expand(len(x))[:, None] / 100], dim=1))
        return made

    def run(scheduler: Any, n: int, steps: int) -> Tensor:
        scheduler.set_timesteps(steps)
        x = torch.randn(n, d)
        for t in scheduler.timesteps:
            x = scheduler.step(predict(x, t), t, x).prev_sample
        return x

    def loss(x: Tensor) -> Tensor:
        added, t = torch.randn_like(x), torch.randint(100, (len(x),))
        return (predict(noising.add_noise(x, added, t), t) - noising.get_velocity(x, added, t)).square().mean()

    with forked(seed):
        net = nn.Sequential(nn.Linear(d + 1, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, d))
        with within(adapters.attach, units.penalty(knowledge), net, lambda n: run(few, n, 5)):
            steps = descend(net, loss, units.rows, EPOCHS)
    return units.sampler(lambda n: run(noising, n, 100), seed), steps


def scvi(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit scVI to counts, and push new cells: gamma-distributed rates, with Gaussian noise in place of Poisson's."""
    library, anndata = import_module("scvi"), import_module("anndata")
    counts = torch.tensor(train.to_numpy(), dtype=torch.float32)
    sizes = counts.sum(1, keepdim=True).log()

    def rates(module: Any, n: int) -> Any:
        z, size = torch.randn(n, 10), sizes[torch.randint(len(sizes), (n,))]
        return module.generative(z, size, torch.zeros(n, 1))["px"]

    def draw(plan: Any, n: int) -> Tensor:
        px = rates(plan.module, n)
        rate = torch.distributions.Gamma(px.theta, px.theta / px.mu).rsample()
        return torch.log1p((rate + rate.sqrt() * torch.randn_like(rate)).clamp(min=0))

    with forked(seed):
        library.settings.seed = seed  # it splits rows by a generator of its own
        cells = anndata.AnnData(counts.numpy())
        library.model.SCVI.setup_anndata(cells)
        model = library.model.SCVI(cells, n_latent=10)
        callbacks = []
        if knowledge is not None:
            callbacks = [adapters.lightning.Callback(penalty(knowledge, train, torch.log1p(counts)), draw)]
        quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu"}
        model.train(max_epochs=EPOCHS, train_size=1.0, batch_size=BATCH, callbacks=callbacks, **quiet)

    def sample(n: int) -> pd.DataFrame:
        with forked(seed), torch.no_grad():
            return pd.DataFrame(rates(model.module, n).sample().numpy(), columns=train.columns)

    return sample, 3 * EPOCHS


def descend(model: nn.Module, loss: Callable[[Tensor], Tensor], rows: Tensor, epochs: int) -> int:
    """Train by Adam, and return the number of steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(rows), batch_size=BATCH, shuffle=True)
    for _ in range(epochs):
        for (batch,) in loader:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
    return epochs * len(loader)


@dataclass(frozen=True)
class Host:
    """A library's model.

    Args:
        fit: trains it.
        package: that it needs.
        data: the set that it is trained on.
    """

    fit: Fit
    package: str
    data: str = "holzinger"


HOSTS = {
    "Lightning, a VAE": Host(lightning, "lightning"),
    "Pyro, a VAE": Host(pyro, "pyro-ppl"),
    "GPyTorch's Bayesian GP-LVM": Host(gpytorch, "gpytorch"),
    "pythae's VAE": Host(pythae, "pythae"),
    "diffusers, a DDPM of columns": Host(diffusers, "diffusers"),
    "scVI (on digits)": Host(scvi, "scvi-tools", "digits"),
    "zuko's NSF": Host(flow, "zuko"),
    # Both are under the Business Source License: only where a user has them.
    "CTGAN": Host(tabular("CTGAN"), "ctgan"),
    "TVAE": Host(tabular("TVAE"), "ctgan"),
    "SDV's TVAESynthesizer": Host(sdv, "sdv"),
}
"""By the name in the table."""
