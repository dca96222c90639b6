"""Every adapter against the public contract, in the library that it is for, and against that library's own doors."""

import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from moreso import Knowledge, Regularizer, adapters
from moreso.adapters import Push, check_adapter
from moreso.guidance import forked
from tests import ranks

NAMES = ["a", "b", "c"]
FALSE = Knowledge.parse("a: c > b")


def rows(n: int = 128) -> torch.Tensor:
    """Return rows in which b follows a, and c is of its own."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    return x


def needed(library: str) -> Any:
    """Return the library, or skip the test with its name as the reason."""
    if find_spec(library) is None:
        pytest.skip(library)
    return import_module(library)


def descend(parameters: Any, loss: Callable[[], torch.Tensor], steps: int, rate: float = 0.02) -> None:
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


# A case: what check_adapter is called with.
Case = dict[str, Any]


def normal() -> Case:
    """Return a Gaussian of torch.distributions with a factor of its covariance."""

    class Gaussian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.root = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.eye(3))

        def forward(self) -> torch.distributions.MultivariateNormal:
            tril = self.root.tril(-1) + torch.diag_embed(self.root.diagonal().abs() + 0.01)
            return torch.distributions.MultivariateNormal(self.mean, scale_tril=tril, validate_args=False)

    def fit(adapter: Any) -> None:
        descend(adapter.parameters(), lambda: -adapter.make().log_prob(rows()).mean(), 100)

    return {"build": lambda: adapters.distributions.Distribution(Gaussian()), "fit": fit}


def flow() -> Case:
    """Return a flow of zuko."""
    zuko = needed("zuko")

    def build() -> Any:
        return adapters.distributions.Distribution(zuko.flows.NSF(3, transforms=1, hidden_features=(16, 16)))

    def fit(adapter: Any) -> None:
        descend(adapter.parameters(), lambda: -adapter.make().log_prob(rows()).mean(), 60)

    def reload(adapter: Any) -> Any:
        copy = build()
        copy.make.load_state_dict(adapter.make.state_dict())
        return copy

    return {"build": build, "fit": fit, "reload": reload}


def lightning(tmp_path: Path, *, manual: bool = False, **trainer: Any) -> Case:
    """Return a LightningModule."""
    lightning = needed("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = not manual
            self.net = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))

        def sample(self, n: int) -> torch.Tensor:
            return self.net(torch.randn(n, 3)) + 0.3 * torch.randn(n, 3)

        def training_step(self, batch: Any, index: int) -> Any:
            (y,), x = batch, self.sample(64)
            loss = (x.T @ x / 64 - y.T @ y / len(y)).square().sum() + (x.mean(0) - y.mean(0)).square().sum()
            if not manual:
                return loss
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
            return None

        def configure_optimizers(self) -> Any:
            if manual:
                return [torch.optim.Adam(part.parameters(), lr=0.02) for part in (self.net[:2], self.net[2:])]
            return torch.optim.Adam(self.parameters(), lr=0.02)

    class Adapter:
        def __init__(self) -> None:
            self.module: Any = Module()
            self.callbacks: list[Any] = []
            self.trainer: Any = None

        def parameters(self) -> Any:
            return self.module.parameters()

        def draw(self, n: int) -> torch.Tensor:
            return self.module.train().sample(n)

        def sample(self, n: int) -> torch.Tensor:
            return self.draw(n).detach()

    def fit(adapter: Any) -> None:
        settings: dict[str, Any] = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "devices": 1,
        }
        settings |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 20} | trainer
        adapter.trainer = lightning.Trainer(callbacks=adapter.callbacks, **settings)
        data = torch.utils.data.TensorDataset(rows())
        adapter.trainer.fit(adapter.module, torch.utils.data.DataLoader(data, batch_size=64, shuffle=True))

    @contextmanager
    def attached(adapter: Any, penalty: Any, **settings: Any) -> Iterator[Push]:
        callback = adapters.lightning.Callback(penalty, **settings)
        adapter.callbacks = [callback]
        yield callback.push
        adapter.callbacks = []
        callback.on_train_end(None, None)

    def reload(adapter: Any) -> Any:
        path, copy = tmp_path / "host.ckpt", Adapter()
        adapter.trainer.save_checkpoint(path)
        copy.module = Module.load_from_checkpoint(path)
        return copy

    return {"build": Adapter, "fit": fit, "attached": attached, "reload": reload}


def pyro() -> Case:
    """Return a variational autoencoder, as in Pyro's tutorial."""
    pyro = needed("pyro")

    def build() -> Any:
        pyro.clear_param_store()
        encoder, decoder = nn.Linear(3, 4), nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))

        def model(x: torch.Tensor) -> None:
            pyro.module("decoder", decoder)
            scale = pyro.param("scale", 0.5 * torch.ones(3), constraint=torch.distributions.constraints.positive)
            with pyro.plate("rows", len(x)):
                z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0).expand([2]).to_event(1))
                pyro.sample("x", pyro.distributions.Normal(decoder(z), scale).to_event(1), obs=x)

        def guide(x: torch.Tensor) -> None:
            pyro.module("encoder", encoder)
            with pyro.plate("rows", len(x)):
                mean, scale = encoder(x).chunk(2, dim=1)
                pyro.sample("z", pyro.distributions.Normal(mean, scale.exp()).to_event(1))

        adapter = adapters.pyro.Model(model, "x")
        adapter.svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO())
        return adapter

    def fit(adapter: Any, steps: int = 150) -> None:
        for _ in range(steps):
            adapter.svi.step(rows())

    def attached(adapter: Any, penalty: Any, **settings: Any) -> Any:
        return adapters.pyro.attach(adapter.svi, "x", penalty, **settings)

    return {"build": build, "fit": fit, "attached": attached, "weight": "auto"}


def gpytorch() -> Case:
    """Return a Bayesian GP-LVM, as in GPyTorch's tutorial."""
    gpytorch = needed("gpytorch")
    n, d, k = 64, 3, 2

    class Model(gpytorch.models.gplvm.BayesianGPLVM):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            prior = gpytorch.priors.NormalPrior(torch.zeros(n, k), torch.ones(n, k))
            start = nn.Parameter(torch.stack([rows()[:n, 0], rows()[:n, 2]], 1))
            latents = gpytorch.models.gplvm.VariationalLatentVariable(n, d, k, start, prior)
            inducing = torch.randn(d, 8, k)
            distribution = gpytorch.variational.CholeskyVariationalDistribution(8, batch_shape=torch.Size([d]))
            strategy = gpytorch.variational.VariationalStrategy(self, inducing, distribution)
            super().__init__(latents, strategy)
            self.mean = gpytorch.means.ZeroMean(batch_shape=torch.Size([d]))
            kernel = gpytorch.kernels.RBFKernel(ard_num_dims=k, batch_shape=torch.Size([d]))
            self.kernel = gpytorch.kernels.ScaleKernel(kernel, batch_shape=torch.Size([d]))

        def forward(self, z: torch.Tensor) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean(z), self.kernel(z))

    def build() -> Any:
        likelihood = gpytorch.likelihoods.GaussianLikelihood(batch_shape=torch.Size([d]))
        return adapters.gpytorch.GPLVM(Model(), likelihood)

    def loss(adapter: Any) -> torch.Tensor:
        objective = gpytorch.mlls.VariationalELBO(adapter.likelihood, adapter.model, num_data=n)
        return -objective(adapter.model(adapter.model.sample_latent_variable()), rows()[:n].T).sum()

    def fit(adapter: Any, steps: int = 150) -> None:
        adapter.model.train()
        adapter.likelihood.train()
        descend(adapter.parameters(), lambda: loss(adapter), steps, 0.05)

    def reload(adapter: Any) -> Any:
        copy = build()
        copy.model.load_state_dict(adapter.model.state_dict())
        copy.likelihood.load_state_dict(adapter.likelihood.state_dict())
        return copy

    return {"build": build, "fit": fit, "reload": reload}


CASES: dict[str, Callable[[Path], Case]] = {
    "torch.distributions": lambda path: normal(),
    "zuko": lambda path: flow(),
    "lightning": lightning,
    "lightning, manual": lambda path: lightning(path, manual=True),
    "pyro": lambda path: pyro(),
    "gpytorch": lambda path: gpytorch(),
}


HERE = ("gpytorch", "lightning.pytorch", "pyro", "zuko")


@pytest.mark.parametrize("library", HERE)
def test_make_test_skips_no_library(library: str) -> None:
    assert find_spec(library) is not None


def test_every_library_has_a_case() -> None:
    tested = {"distributions" if name in ("torch.distributions", "zuko") else name.split(",")[0] for name in CASES}
    # And those that `make test-adapters` installs, a file each.
    tested |= {path.stem.removeprefix("test_") for path in (Path(__file__).parent / "adapters").glob("test_*.py")}
    assert tested - {"environment"} == set(adapters.LIBRARIES)


@pytest.mark.parametrize("name", CASES)
def test_it_keeps_the_contract(name: str, tmp_path: Path) -> None:
    with forked(0):
        case = CASES[name](tmp_path)
        settings: Case = {"weight": 1.0} | case
        found = check_adapter(**settings)
    assert found.gap_before < found.gap_after


def covariance(x: torch.Tensor) -> torch.Tensor:
    """Return a penalty without a state."""
    return x[:, :2].T.cov()[0, 1].square()


class Noted:
    """The same, which notes the seeds of its draws."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.seeds.append(torch.initial_seed())
        return covariance(x)


class Replayed:
    """The penalty on the same draws, one after the other, for sums that are written out."""

    def __init__(self, draw: Callable[[int], torch.Tensor], seeds: list[int]) -> None:
        self.draw, self.seeds = draw, iter(seeds)

    def __call__(self) -> torch.Tensor:
        with forked(next(self.seeds)):
            return covariance(self.draw(50))


def values(adapter: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in adapter.parameters()])


def test_pyro_takes_the_steps_of_a_factor() -> None:
    library, left, noted = needed("pyro"), [], Noted()
    for how in ("attached", "factor", "plain"):
        with forked(3):
            case = pyro()
            adapter = case["build"]()
            if how == "attached":
                with case["attached"](adapter, noted, weight=30.0, draws=50):
                    case["fit"](adapter, 5)
            else:
                model, replayed = adapter.svi.model, Replayed(adapter.draw, noted.seeds)

                def factored(x: torch.Tensor, model: Any = model, replayed: Any = replayed) -> None:
                    model(x)
                    library.factor("knowledge", -30.0 * replayed())

                adapter.svi.model = factored if how == "factor" else model
                case["fit"](adapter, 5)
            left.append(values(adapter))
    torch.testing.assert_close(left[0], left[1], rtol=1e-4, atol=1e-5)
    assert (left[0] - left[2]).abs().max() > 1e-3


def test_pyro_pushes_once_a_step_whatever_the_number_of_particles() -> None:
    library = needed("pyro")
    with forked(3):
        case = pyro()
        adapter = case["build"]()
        loss = library.infer.Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
        adapter.svi = library.infer.SVI(adapter.svi.model, adapter.svi.guide, adapter.svi.optim, loss)
        with case["attached"](adapter, covariance, draws=50, every=2) as push:
            case["fit"](adapter, 5)
    assert [pushed.step for pushed in push.history] == [0, 2, 4]


def test_gpytorch_takes_the_steps_of_an_added_loss_term() -> None:
    library, left, noted = needed("gpytorch"), [], Noted()
    for how in ("attached", "term", "plain"):
        with forked(3):
            case = gpytorch()
            adapter = case["build"]()
            adapter.model(adapter.model.sample_latent_variable())  # the first call sets variational parameters
            replayed = Replayed(adapter.draw, noted.seeds)

            class Term(library.mlls.AddedLossTerm):  # type: ignore[misc,name-defined]
                def loss(self, replayed: Any = replayed) -> torch.Tensor:
                    # Added to the objective of each of three columns, which are summed.
                    return 3.0 / 3 * replayed()

            if how == "attached":
                with adapters.gpytorch.attach(adapter.model, adapter.likelihood, noted, weight=3.0, draws=50):
                    case["fit"](adapter, 5)
            elif how == "term":
                adapter.model.register_added_loss_term("knowledge")
                adapter.model.update_added_loss_term("knowledge", Term())
                case["fit"](adapter, 5)
            else:
                case["fit"](adapter, 5)
            left.append(values(adapter))
    torch.testing.assert_close(left[0], left[1], rtol=1e-4, atol=1e-4)
    assert (left[0] - left[2]).abs().max() > 1e-2


def test_problems_of_hosts_are_told() -> None:
    needed("gpytorch")
    with pytest.raises(TypeError, match=r"the model must be a BayesianGPLVM, got Identity\. For others use attach"):
        adapters.gpytorch.GPLVM(nn.Identity(), nn.Identity())
    with forked(0):
        model = gpytorch()["build"]().model
    model.X.prior_x = None
    with pytest.raises(ValueError, match=r"the latents have no prior to draw from\. Pass latents=lambda n:"):
        adapters.gpytorch.GPLVM(model, nn.Identity())
    needed("pyro")
    with forked(1), pytest.raises(ValueError, match=r"the model has no site 'y'\. Its sites: z, x\."):
        adapters.pyro.Model(pyro()["build"]().model, "y").draw(5)


def trained(tmp_path: Path, penalty: Any, optimizer: Any, **settings: Any) -> tuple[torch.Tensor, Any]:
    """Train a LightningModule for three steps, and return how it moved and what was pushed."""
    with forked(3):
        case = lightning(tmp_path, max_epochs=3, limit_train_batches=1, **settings)
        adapter = case["build"]()
        adapter.module.configure_optimizers = lambda: optimizer(adapter.module.parameters())
        before = values(adapter)
        with case["attached"](adapter, penalty, draws=50, random_state=0) as push:
            case["fit"](adapter)
        return values(adapter) - before, push


def test_lightning_clips_the_sum_of_both_gradients(tmp_path: Path) -> None:
    """Each step of SGD is as long as the clipped gradient, however long the penalty's."""
    needed("lightning.pytorch")
    moved, push = trained(
        tmp_path, lambda x: 1e6 * covariance(x), partial(torch.optim.SGD, lr=1.0), gradient_clip_val=1e-3
    )
    assert len(push.history) == 3
    assert moved.norm() <= 3.001e-3


def test_lightning_pushes_at_each_evaluation_of_one_step_alike(tmp_path: Path) -> None:
    needed("lightning.pytorch")
    seen = []

    def penalty(x: torch.Tensor) -> torch.Tensor:
        seen.append(float(torch.rand(())))
        return covariance(x)

    _, push = trained(tmp_path, penalty, partial(torch.optim.LBFGS, lr=0.01, max_iter=4))
    assert len(push.history) == 3
    assert len(seen) > 6
    assert len(set(seen)) == 3


def test_lightning_tells_loggers_what_was_pushed(tmp_path: Path) -> None:
    library = needed("lightning.pytorch")
    logger = library.loggers.CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    regularizer = Regularizer(FALSE, NAMES, data=rows())
    _, push = trained(tmp_path, regularizer, partial(torch.optim.SGD, lr=0.01), logger=logger, log_every_n_steps=1)
    told = pd.read_csv(next(tmp_path.rglob("metrics.csv")))
    assert told["moreso/penalty"].tolist() == pytest.approx([pushed.penalty for pushed in push.history])
    assert told["moreso/held"].tolist() == [pushed.held for pushed in push.history]


def test_lightning_tells_that_nothing_was_pushed(tmp_path: Path) -> None:
    """And does not hide another error."""
    needed("lightning.pytorch")
    other = nn.Parameter(torch.zeros(1))
    with pytest.raises(RuntimeError, match="nothing was pushed"):
        trained(tmp_path, covariance, lambda parameters: torch.optim.SGD([other], lr=0.1))

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trained(tmp_path, broken, partial(torch.optim.SGD, lr=0.01))


@pytest.mark.parametrize("name", [name for name, remedy in adapters.LIBRARIES.items() if remedy])
def test_a_missing_library_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name, *(module for module in sys.modules if module.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"moreso.adapters.{name}", raising=False)
    monkeypatch.delitem(vars(adapters), name, raising=False)
    # What is under the Business Source License is in no extra of ours.
    package = name if name in ("ctgan", "pythae", "sdv") else f"'moreso[{name}]'"
    sentence = f"moreso.adapters.{name} needs the package '{name}'. Install it with: pip install {package}."
    with pytest.raises(ModuleNotFoundError, match=re.escape(sentence)):
        getattr(adapters, name)


def test_a_library_without_an_adapter_is_told() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'pytroch'\. It has ctgan, distributions, gpytorch"):
        _ = adapters.pytroch


def test_only_the_file_of_a_library_imports_it() -> None:
    for path in (Path(adapters.__file__)).parents[1].rglob("*.py"):
        text = path.read_text()
        for name in ("lightning", "pyro", "gpytorch"):
            imported = re.search(rf"^\s*(import|from) {name}\b", text, re.MULTILINE)
            assert bool(imported) == (path == Path(adapters.__file__).parent / f"{name}.py"), path


def test_processes_of_one_training_stay_equal(tmp_path: Path) -> None:
    """Two processes, each with draws of its own: the same steps, those of the mean of both penalties."""
    file = tmp_path / "ranks"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(ranks.train, (str(file), port), nprocs=2)
    for weight in (1.0, "auto"):
        (first, one), (second, other) = (torch.load(f"{file}.{weight}.{rank}") for rank in (0, 1))
        assert torch.equal(first, second)
        assert not set(one) & set(other)
        if weight == 1.0:
            torch.testing.assert_close(first, ranks.alone(one, other), rtol=1e-5, atol=1e-6)
