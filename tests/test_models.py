"""Laws of single models; what all share stands in test_contract.py."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.distributions import Independent, Normal

from moreso.models import GAN, GPLVM, VAE, VAEGAN, FactorAnalysis, Mixture, join, members
from moreso.models.latent import LatentModel, gaussian
from moreso.training import Schedule, fit


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
        predicted = model.likelihood(z).base_dist
        everything = torch.cat([model.posterior(rows).mean, z])
        for j in range(2):
            distances = (everything - everything.T).square() / model.log_lengths.exp() ** 2
            noise = model.log_scale[j].exp() ** 2 + 0.04
            joint = model.log_amplitude[j].exp() ** 2 * (-distances / 2).exp() + noise * torch.eye(10)
            weights = joint[7:, :7] @ joint[:7, :7].inverse()
            torch.testing.assert_close(predicted.mean[:, j], weights @ rows[:, j])
            variance = (joint[7:, 7:] - weights @ joint[:7, 7:]).diagonal()
            torch.testing.assert_close(predicted.variance[:, j], variance)


def test_rows_are_remembered_once_in_training_only_and_while_there_is_room() -> None:
    model = GPLVM(2, capacity=5)
    rows = torch.randn(8, 2)
    model.eval().loss(rows)
    assert model.count == 0
    model.train().loss(rows[:3])
    model.loss(rows[:4])
    assert model.count == 4
    model.loss(rows)
    assert torch.equal(model.rows, rows[:5])


def test_early_stopping_watches_the_validation_loss_where_there_is_one() -> None:
    class Watched(FactorAnalysis):
        def validation_loss(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor(7.0)

    assert fit(Watched(3), torch.randn(20, 3), schedule=Schedule(max_epochs=3)).validation_loss == (7, 7, 7)


class Linear(LatentModel):
    """A latent model whose density is known: x = 2 z + noise in each of two columns."""

    def likelihood(self, z: torch.Tensor) -> Independent:
        return gaussian(2 * z, torch.full_like(z, 0.5))


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
    fit(model, rows, schedule=Schedule(max_epochs=60, patience=60))
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
