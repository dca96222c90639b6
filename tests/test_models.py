"""Laws of single models; what all share stands in test_contract.py."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest, t
from torch.distributions import Normal

from moreso.models import GAN, GPLVM, MODELS, VAE, VAEGAN, FactorAnalysis, HasMemory, Mixture, join, members
from moreso.models.densities import Gaussian, Student
from moreso.models.latent import LatentModel
from moreso.training import Schedule, fit, split
from moreso.training.stack import Alone, Stack, refusal


@pytest.fixture(autouse=True)
def _forked() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_each_player_of_the_game_descends_on_its_own_loss() -> None:
    model = GAN(3)
    critic = set(model.critic.parameters())
    x, samples = torch.randn(16, 3), model.sample(16)
    for loss, owners in ((model.critic.loss(x, samples), critic), (model.critic.judge(x, samples), None)):
        model.zero_grad()
        loss.backward(retain_graph=True)
        moved = {each for each in model.parameters() if each.grad is not None and each.grad.abs().sum() > 0}
        assert moved == (critic if owners else set(model.parameters()) - critic)


def test_the_critic_and_the_generator_want_opposite_scores() -> None:
    critic = GAN(3).critic
    x, samples = torch.randn(16, 3), torch.randn(16, 3).requires_grad_()
    critic.gamma = 0
    with torch.no_grad():
        assert critic.loss(x, samples) == critic.judge(samples, x)
        step = torch.autograd.grad
    (slope,) = step(critic.judge(x, samples), samples)
    with torch.no_grad():
        assert critic(samples - 0.1 * slope).mean() > critic(samples).mean()


def test_the_energy_distance_of_one_law_is_0() -> None:
    model = GAN(3)
    with torch.no_grad():
        rows = model.sample(3000)
        assert abs(model.validation_loss(rows).item()) < 0.01
        assert model.validation_loss(2 * rows) > 0.05


def test_encoder_and_decoder_feel_the_critic() -> None:
    x = torch.randn(16, 3)
    slopes = []
    for weight in (0.0, 0.5):
        torch.manual_seed(1)
        model = VAEGAN(3, weight=weight)
        model.loss(x).backward()
        slopes.append([model.encoder[0].weight.grad, model.decoder[0].weight.grad])
    for without, with_critic in zip(*slopes, strict=True):
        assert not torch.allclose(without, with_critic)


def test_the_process_predicts_as_the_joint_gaussian_does() -> None:
    model = GPLVM(2, n_latent=1, min_scale=0.2).double()
    rows, z = torch.randn(7, 2, dtype=torch.double), torch.randn(3, 1, dtype=torch.double)
    with torch.no_grad():
        model.loss(rows)
        predicted = model.likelihood(z)
        everything = torch.cat([model.posterior(rows).mean, z])
        for j in range(2):
            distances = (everything - everything.T).square() / model.log_lengths.exp() ** 2
            noise = model.log_scale[j].exp() ** 2 + 0.04
            joint = model.log_amplitude[j].exp() ** 2 * (-distances / 2).exp() + noise * torch.eye(10)
            weights = joint[7:, :7] @ joint[:7, :7].inverse()
            torch.testing.assert_close(predicted.mean[:, j], weights @ rows[:, j])
            variance = (joint[7:, 7:] - weights @ joint[:7, 7:]).diagonal()
            torch.testing.assert_close(predicted.scale[:, j].square(), variance)


def test_rows_are_remembered_before_the_training_or_from_its_first_batch() -> None:
    rows = torch.randn(8, 2)
    model = GPLVM(2, capacity=5)
    model.eval().loss(rows)
    assert len(model.rows) == 0
    model.train().loss(rows[:3])
    model.loss(rows)
    assert torch.equal(model.rows, rows[:3])
    fit(model, rows, schedule=Schedule(max_epochs=1, batch_size=2))
    train, _ = split(8, 0.25, 0)
    assert torch.equal(model.rows, rows[train][:5])
    again = GPLVM(2, capacity=5)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval().log_prob(rows).isnan(), torch.zeros(8, dtype=torch.bool))


@pytest.mark.parametrize("df", [2.5, 8.0, 1e4])
def test_draws_of_student_noise_follow_its_distribution_and_carry_gradients(df: float) -> None:
    location = torch.zeros(20_000, 1, dtype=torch.double)
    scale = torch.full((1,), 0.5, dtype=torch.double, requires_grad=True)
    freedom = torch.full((1,), df, dtype=torch.double, requires_grad=True)
    torch.manual_seed(0)
    draws = Student(location, scale, freedom).rsample()
    assert kstest(draws.detach()[:, 0] / 0.5, t(df).cdf).pvalue > 0.01
    x = torch.linspace(-3, 3, 7, dtype=torch.double)[:, None]
    expected = torch.distributions.StudentT(freedom, 0.0, scale).log_prob(x)[:, 0]
    torch.testing.assert_close(Student(torch.zeros_like(x), scale, freedom).log_prob(x), expected)
    # The derivative of E log(1 + y^2) by the degrees of freedom, by draws and by quadrature.
    (slope,) = torch.autograd.grad((draws / 0.5).square().log1p().mean(), freedom)
    step = 1e-3 * df
    ends = [quad(lambda y, f=f: np.log1p(y * y) * t.pdf(y, f), -np.inf, np.inf)[0] for f in (df - step, df + step)]
    assert slope.item() == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=0.1, abs=1e-6)


@pytest.mark.parametrize("name", list(MODELS))
def test_models_stack_and_each_member_learns_what_it_learns_alone(name: str) -> None:
    """Losses and their gradients are compared member by member, where they hold no random numbers: in the mean."""
    torch.manual_seed(0)
    models = [MODELS[name](3) for _ in range(3)]
    rows = torch.randn(3, 200, 3)
    for model, own in zip(models, rows, strict=True):
        if isinstance(model, HasMemory):
            model.remember(own)
    assert refusal(models, rows[0]) == ""
    stack = Stack(models)
    stack.move(stack.names)
    assert stack.sample(7).shape == (3, 7, 3)
    repeats = 40 if name != "gplvm" else 10
    joint = torch.stack([stack.validation_loss(rows) for _ in range(repeats)])
    apart = torch.stack(
        [
            torch.stack([Alone(model).validation_loss(own[None]) for model, own in zip(models, rows, strict=True)])
            for _ in range(repeats)
        ]
    )
    error = (joint.var(0) / repeats + apart.var(0) / repeats).sqrt() + 1e-5 * apart.mean(0).abs()
    assert ((joint.mean(0) - apart.mean(0)).abs() < 4 * error).all()
    stack.loss(rows).sum().backward()
    slope = stack.moved[0].grad
    assert slope is not None and slope.isfinite().all() and (slope.norm(dim=1) > 0).all()


def test_early_stopping_watches_the_validation_loss_where_there_is_one() -> None:
    class Watched(FactorAnalysis):
        def validation_loss(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor(7.0)

    assert fit(Watched(3), torch.randn(20, 3), schedule=Schedule(max_epochs=3, interval=1)).validation_loss == (7, 7, 7)


class Linear(LatentModel):
    """A latent model whose density is known: x = 2 z + noise in each of two columns."""

    def likelihood(self, z: torch.Tensor) -> Gaussian:
        return Gaussian(2 * z, torch.full_like(z, 0.5))


def test_a_wrong_posterior_does_not_spoil_the_likelihood() -> None:
    """Encoders are wrong about rows unlike those they were trained on, and such rows decide a mean of logarithms."""
    model = Linear(2, n_latent=2, hidden=4)
    last: Any = model.encoder[2]
    last.weight.data.zero_()
    last.bias.data = torch.tensor([4.0, -4.0, -2.0, -2.0])
    x = torch.tensor([[0.0, 0.0], [1.0, -3.0], [2.0, 1.0]])
    found = model.log_prob(x)
    truth = Normal(0.0, (2**2 + 0.5**2) ** 0.5).log_prob(x).sum(1)
    assert (found - truth).abs().max() < 0.5


@pytest.mark.parametrize(("n", "least", "most"), [(40, 4.0, 7.5), (3000, 8.0, 1e5)])
def test_tails_are_learned_from_many_rows_and_assumed_of_few(n: int, least: float, most: float) -> None:
    model, rows = VAE(2), torch.randn(n, 2)
    fit(model, rows, schedule=Schedule(max_epochs=60, patience=90))
    degrees = (2 + model.log_df.exp()).tolist()
    assert least < min(degrees) and max(degrees) < most


def test_the_noise_of_a_column_comes_down_to_its_size() -> None:
    """Stopped with the rest of the model, it is still above .15."""
    model, rows = VAE(4), torch.randn(40, 4) * torch.tensor([1, 1, 1, 0.02])
    fit(model, rows, schedule=Schedule(patience=10))
    assert model.log_scale[3].exp() < 0.08


def test_a_far_row_keeps_a_density() -> None:
    """Ten standard deviations out: 50 nats under Gaussian noise."""
    model, rows = VAE(2), torch.randn(40, 2)
    fit(model, rows, schedule=Schedule(max_epochs=60, patience=60))
    with torch.no_grad():
        near, far = model.log_prob(torch.tensor([[0.0, 0.0], [0.0, 10.0]])).tolist()
    assert 5 < near - far < 30


def test_samples_and_density_of_a_mixture_are_of_its_models_in_equal_parts() -> None:
    models: list[Any] = [FactorAnalysis(2) for _ in range(3)]
    for place, model in enumerate(models):
        model.mean.data.fill_(100.0 * place)
    mixture = join(models)
    assert isinstance(mixture, Mixture) and members(mixture) == models and members(models[0]) == [models[0]]
    drawn = (mixture.sample(3000)[:, 0] / 100).round().clamp(0, 2).long()
    assert (torch.bincount(drawn) - 1000).abs().max() < 120
    # In no order, so that the first rows are a sample too.
    assert (torch.bincount(drawn[:300]) - 100).abs().max() < 40
    assert [len(mixture.sample(n)) for n in (1, 2)] == [1, 2]
    x = torch.tensor([[0.0, 0.0], [100.0, 100.0], [50.0, 50.0]])
    densities = torch.stack([model.log_prob(x).exp() for model in models])
    torch.testing.assert_close(mixture.log_prob(x).exp(), densities.mean(0))
    assert join(models[:1]) is models[0]


def test_dropout_is_of_training_alone() -> None:
    """Both networks of the VAE have it; without training, it is the model of the same parameters."""
    torch.manual_seed(0)
    model, z = VAE(3, dropout=0.5), torch.randn(100, 6)
    bare = VAE(3)
    bare.load_state_dict(model.state_dict())
    for network, x in ((model.decoder, z), (model.encoder, z[:, :3])):
        assert not torch.equal(network(x), network(x))
    model.eval()
    for network, same, x in ((model.decoder, bare.decoder, z), (model.encoder, bare.encoder, z[:, :3])):
        torch.testing.assert_close(network(x), same(x))
