"""Rows with missing values: the likelihood of what is known, draws of the rest, and models trained on such rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from moreso import Knowledge, Regularizer, Synthesizer
from moreso.cli import main
from moreso.dependence import median_bandwidth
from moreso.models import (
    GPLVM,
    MODELS,
    VAE,
    VAEGAN,
    FactorAnalysis,
    Mixture,
    TakesMissing,
    conditional,
    draw_missing,
    impute,
    log_prob_known,
)
from moreso.tabular import TableEncoder, write_table
from moreso.training import Resume, Schedule, fit
from moreso.training.checkpoint import Checkpoint

TAKING = {"factor": FactorAnalysis, "vae": VAE, "vaegan": VAEGAN, "gplvm": GPLVM}
D = 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def incomplete_rows(n: int = 40, share: float = 0.3) -> Tensor:
    x = torch.randn(n, 2, generator=seeded(0)) @ torch.randn(2, D, generator=seeded(1))
    x = x + 0.3 * torch.randn(n, D, generator=seeded(2))
    return x.masked_fill(torch.rand(n, D, generator=seeded(3)) < share, torch.nan)


@pytest.fixture(autouse=True)
def _same_state() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def law(model: FactorAnalysis) -> tuple[Tensor, Tensor]:
    return model.mean.detach(), (model.loadings @ model.loadings.T + model.variance().diag()).detach()


def factor() -> FactorAnalysis:
    model = FactorAnalysis(D, n_latent=2)
    with torch.no_grad():
        model.mean.copy_(torch.tensor([1.0, -1.0, 0.5, 0.0]))
    return model


def test_the_factor_model_scores_what_is_known() -> None:
    model, x = factor(), incomplete_rows()
    mean, covariance = law(model)
    for row, found in zip(x, model.log_prob(x), strict=True):
        known = ~row.isnan()
        block = MultivariateNormal(mean[known], covariance[known][:, known]) if known.any() else None
        expected = block.log_prob(row[known]) if block is not None else torch.tensor(0.0)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_gradient_of_the_factor_model_is_that_of_what_is_known() -> None:
    """It is written down, not traced."""
    model = FactorAnalysis(D, n_latent=2, missing=True).double()
    x = incomplete_rows(12).double()
    covariance = model.loadings @ model.loadings.T + model.variance().diag()
    expected = -torch.stack(
        [
            MultivariateNormal(model.mean[known], covariance[known][:, known]).log_prob(row[known])
            for row in x
            if (known := ~row.isnan()).any()
        ]
    ).sum() / len(x)
    torch.testing.assert_close(model.loss(x), expected)
    pairs = (torch.autograd.grad(loss, list(model.parameters())) for loss in (model.loss(x), expected))
    for found, wanted in zip(*pairs, strict=True):
        torch.testing.assert_close(found, wanted)


def test_each_column_of_a_process_conditions_on_the_rows_that_have_it() -> None:
    model, x, z = GPLVM(D, missing=True), incomplete_rows(20), torch.randn(5, 6)
    model.remember(x)
    with torch.no_grad():
        found = model.likelihood(z)
        filled, known = model.read(x)
        assert known is not None
        latents = model.posterior(filled, known).mean
        cross, within = model.kernel(latents, z), model.kernel(latents, latents)
        for column in range(D):
            own = known[:, column] > 0
            inner = within[column][own][:, own] + model.noise()[column] * torch.eye(int(own.sum()))
            weights = torch.linalg.solve(inner, cross[column][own]).T
            torch.testing.assert_close(found.mean[:, column], weights @ x[own, column], atol=1e-4, rtol=1e-3)
            left = (2 * model.log_amplitude[column]).exp() - (weights * cross[column][own].T).sum(1)
            torch.testing.assert_close(found.scale[:, column] ** 2, left + model.noise()[column], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("draw", ["factor", "samples"])
def test_draws_follow_the_law_given_the_rest(draw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly for the factor model, and by regression from samples for any model."""
    # For Gaussian samples any of them may be moved, and equal rows have equal neighbours.
    monkeypatch.setattr(conditional, "DONORS", 4000)
    model = factor()
    mean, covariance = law(model)
    row = torch.tensor([0.3, torch.nan, -1.0, torch.nan])
    many = row.expand(4000, D)
    with torch.no_grad():
        drawn = model.impute(many) if draw == "factor" else draw_missing(many, model.sample(4000))
    assert torch.equal(drawn[:, [0, 2]], many[:, [0, 2]])
    a, b = torch.tensor([1, 3]), torch.tensor([0, 2])
    gain = covariance[a][:, b] @ torch.linalg.inv(covariance[b][:, b])
    torch.testing.assert_close(drawn[:, a].mean(0), mean[a] + gain @ (row[b] - mean[b]), atol=0.15, rtol=0)
    if draw == "factor":
        left = covariance[a][:, a] - gain @ covariance[b][:, a]
        torch.testing.assert_close(drawn[:, a].T.cov(), left, atol=0.05, rtol=0.1)


@pytest.mark.parametrize("name", TAKING)
def test_any_row_is_scored_and_filled(name: str) -> None:
    """A row of which nothing is known has density 1, and all rows are filled."""
    model = TAKING[name](D, missing=True)
    assert isinstance(model, TakesMissing)
    x = incomplete_rows()
    with torch.no_grad():
        if isinstance(model, GPLVM):
            model.remember(x)
        nothing = model.log_prob(torch.full((3, D), torch.nan))
        assert nothing.abs().max() < 0.05
        scores = model.log_prob(x)
        filled = model.impute(x)
    assert scores.isfinite().all() and filled.isfinite().all()
    assert torch.equal(filled[~x.isnan()], x[~x.isnan()])


@pytest.mark.parametrize("name", TAKING)
def test_a_missing_value_has_no_gradient_and_no_say(name: str) -> None:
    model = TAKING[name](D, missing=True)
    x = incomplete_rows()
    model.train()
    model.loss(x).backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
    lost = x.clone()
    lost[:, 0] = torch.nan
    if name in ("factor", "vae"):
        model.zero_grad()
        model.loss(lost).backward()
        scale = model.log_scale.grad
        assert scale is not None and scale[0] == 0 and (scale[1:] != 0).all()


def test_the_latent_likelihood_agrees_with_integration() -> None:
    """Over the missing value, on a grid."""
    model = VAE(2, n_latent=1, missing=True)
    grid = torch.linspace(-30, 30, 601)
    with torch.no_grad():
        whole = model.log_prob(torch.stack([torch.full_like(grid, 0.4), grid], 1), draws=1000)
        part = model.log_prob(torch.tensor([[0.4, torch.nan]]), draws=20_000)
    assert float(torch.trapezoid(whole.exp(), grid).log()) == pytest.approx(float(part), abs=0.03)


def test_models_without_a_likelihood_of_what_is_known_are_integrated() -> None:
    """By importance sampling: here a factor model that does not let on that it knows better."""

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = factor()

        def sample(self, n: int) -> Tensor:
            return self.inner.sample(n)

        def log_prob(self, x: Tensor) -> Tensor:
            assert not x.isnan().any()
            return self.inner.log_prob(x)

    model, x = Blind(), incomplete_rows()
    with torch.no_grad():
        torch.testing.assert_close(log_prob_known(model, x), model.inner.log_prob(x), atol=0.5, rtol=0)
        assert impute(model, x).isfinite().all()
        both = log_prob_known(Mixture([model, model.inner]), x)
    torch.testing.assert_close(both, model.inner.log_prob(x), atol=0.5, rtol=0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_training_learns_what_missing_values_hide(name: str) -> None:
    """Two columns that are one, each known in half of the rows beside a third: their samples agree."""
    common = torch.randn(80, 1, generator=seeded(5))
    x = common.repeat(1, 3) + 0.1 * torch.randn(80, 3, generator=seeded(6))
    x[:40, 1] = torch.nan
    x[40:, 2] = torch.nan
    settings = {"missing": True} if name in TAKING else {}
    model = MODELS[name](3, **settings)
    fit(model, x, schedule=Schedule(max_epochs=400))
    with torch.no_grad():
        sample = model.sample(2000)
    assert sample.isfinite().all()
    correlation = float(sample[:, 1:].T.corrcoef()[0, 1])
    assert correlation > (0.5 if name != "gan" else 0.2), correlation


def incomplete(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    common = random.normal(size=rows)
    table = pd.DataFrame(
        {
            "a": (common + 0.2 * random.normal(size=rows)).round(2),
            "b": common + 0.2 * random.normal(size=rows),
            "n": pd.array((10 * common + 50).round().astype(int), dtype="Int64"),
            "level": np.where(common > 0.5, "high", np.where(common < -0.5, "low", "middle")),
            "on": pd.array(common > 0, dtype="boolean"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta((common * 30).round(), unit="D"),
            "full": random.normal(size=rows),
        }
    )
    lost = random.random(table.shape) < 0.25
    lost[:, -1] = False
    return table.mask(lost)


@pytest.mark.parametrize("name", ["factor", "vae", "gan", "flow"])
def test_a_table_with_missing_values(name: str, tmp_path: Path) -> None:
    table = incomplete()
    knowledge = Knowledge.parse("a: b > full\nlevel: a > full")
    fitted = Synthesizer(name, knowledge, max_epochs=10, random_state=0, trust="all").fit(table)
    sample, complete = fitted.sample(300), fitted.sample(300, missing=False)
    assert sample.isna().any().tolist() == [True] * 6 + [False]
    assert not complete.isna().any().any()
    pd.testing.assert_series_equal(complete.dtypes, table.dtypes)
    filled = fitted.impute(table)
    assert not filled.isna().any().any()
    pd.testing.assert_series_equal(filled.dtypes, table.dtypes)
    for column in table:
        known = table[column].notna()
        assert (filled[column] == table[column])[known].all()
    assert set(filled["level"]) <= {"high", "low", "middle"}
    pd.testing.assert_frame_equal(fitted.impute(table), filled)
    assert not fitted.impute(table, random_state=1).equals(filled)
    several = fitted.impute(table[["full", "a"]], draws=3)
    assert several.shape == (180, 7) and several.index.names[0] == "draw"
    fitted.save(tmp_path / "m")
    loaded = Synthesizer.load(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.impute(table), filled)
    if fitted.has_likelihood:
        assert np.isfinite(fitted.score_samples(table)).all()
        np.testing.assert_array_equal(loaded.score_samples(table), fitted.score_samples(table))


def test_scores_and_draws_of_new_missing_values() -> None:
    """A model of complete rows scores and fills incomplete ones, for it is a density of all columns."""
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    table = pd.DataFrame({"a": x, "b": 2 * x + 0.1 * random.normal(size=400), "c": random.normal(size=400)})
    fitted = Synthesizer("factor", random_state=0).fit(table)
    part = fitted.impute(table.assign(b=np.nan))
    assert np.corrcoef(part["b"], table["b"])[0, 1] > 0.95
    scores = fitted.score_samples(table.assign(b=np.nan, c=np.nan))
    expected = -0.5 * table["a"] ** 2 - 0.5 * np.log(2 * np.pi)
    assert np.corrcoef(scores, expected)[0, 1] > 0.99
    with pytest.raises(ValueError, match=r"'draws' must be .* at least 1, got 0"):
        fitted.impute(table, draws=0)
    with pytest.raises(ValueError, match="lacks the columns 'a', 'b', 'c'"):
        fitted.impute(table[[]])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(incomplete(), "t.csv")
    run = CliRunner().invoke
    assert run(main, ["fit", "t.csv", "-o", "m", "--model", "factor", "--max-epochs", "5"]).exit_code == 0
    result = run(main, ["impute", "m", "t.csv", "-o", "filled.csv"])
    assert result.exit_code == 0, result.output
    lost = int(pd.read_csv("t.csv").isna().sum().sum())
    assert f"wrote filled.csv: 60 rows, {lost} values filled." in result.output
    assert not pd.read_csv("filled.csv").isna().any().any()
    assert run(main, ["impute", "m", "t.csv", "-o", "filled.csv", "--draws", "2"]).exit_code == 0
    assert pd.read_csv("filled.csv")["draw"].value_counts().to_dict() == {0: 60, 1: 60}
    result = run(main, ["impute", "m", "filled.csv", "-o", "f.csv", "--draws", "2"])
    assert result.exit_code == 2 and "has a column 'draw'" in result.stderr
    assert run(main, ["sample", "m", "-n", "20", "-o", "s.csv", "--complete"]).exit_code == 0
    assert not pd.read_csv("s.csv").isna().any().any()


def test_bandwidths_come_from_what_is_known() -> None:
    x = torch.randn(60, 4, generator=seeded(0))
    lost = x.clone()
    lost[::3, 0] = torch.nan
    lost[1::3, 1] = torch.nan
    knowledge, names = Knowledge.parse("a: b > c\nc: {a, b} > d"), ["a", "b", "c", "d"]
    found = Regularizer(knowledge, names, data=lost).relative
    assert found.bandwidths is not None
    for group, width in zip(found.groups, found.bandwidths, strict=True):
        own = lost[:, [names.index(name) for name in group]]
        torch.testing.assert_close(width, median_bandwidth(own[~own.isnan().any(1)]))
    never = x.clone()
    never[:30, 0] = torch.nan
    never[30:, 1] = torch.nan
    found = Regularizer(knowledge, names, data=never).relative
    assert found.bandwidths is not None and found.bandwidths.isfinite().all()


def test_missing_values_are_learnt_only_if_they_depend_on_others() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=200)
    table = pd.DataFrame({name: random.normal(size=200) for name in "abcd"} | {"x": x})
    table.loc[random.random(200) < 0.3, "a"] = np.nan
    table.loc[x > 0.5, ["b", "c"]] = np.nan
    table["d"] = np.where(random.random(200) < 0.5, 1.0, np.nan)
    encoder = TableEncoder.fit(table)
    assert encoder.missingness.flagged == ("b", "d") and encoder.missingness.follows == {"c": "b"}
    assert encoder.missingness.drawn == ("a",)
    sample = Synthesizer("factor", random_state=0).fit(table).sample(2000)
    assert (sample["b"].isna() == sample["c"].isna()).all()
    assert sample.loc[sample["x"] > 1, "b"].isna().mean() > 0.7
    assert sample.loc[sample["x"] < 0, "b"].isna().mean() < 0.2
    assert sample["a"].isna().mean() == pytest.approx(table["a"].isna().mean(), abs=0.05)


def test_long_tables_are_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = factor(), incomplete_rows(300)
    monkeypatch.setattr(conditional, "CHUNK", 100)
    with torch.no_grad():
        drawn = draw_missing(x.expand(2, -1, -1), model.sample(500).expand(2, -1, -1))
    assert drawn.shape == (2, 300, D) and drawn.isfinite().all()
    assert torch.equal(drawn[0][~x.isnan()], x[~x.isnan()])


def test_patterns_of_missing_values_stay_together() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(200, 4)), columns=list("abcd"))
    lost = random.random(200) < 0.4
    table.loc[lost, ["a", "b"]] = np.nan
    table.loc[~lost & (random.random(200) < 0.3), ["c"]] = np.nan
    sample = Synthesizer("factor", random_state=0, max_epochs=5).fit(table).sample(1000)
    assert (sample["a"].isna() == sample["b"].isna()).all()
    assert not (sample["a"].isna() & sample["c"].isna()).any()


@pytest.mark.parametrize("name", ["factor", "flow", "gan"])
def test_a_killed_training_on_missing_values_resumes_to_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, schedule = incomplete_rows(), Schedule(max_epochs=120, patience=1000)

    def train(resume: Resume | None) -> Tensor:
        torch.manual_seed(0)
        model = MODELS[name](D, **({"missing": True} if name in TAKING else {}))
        fit(model, x, schedule=schedule, resume=resume)
        return torch.cat([each.detach().flatten() for each in model.parameters()])

    whole = train(None)
    path = tmp_path / "checkpoint"
    write = Checkpoint.write
    seen = []

    def killed(self: Checkpoint, *args: Any) -> None:
        write(self, *args)
        seen.append(1)
        if len(seen) == 3:
            raise RuntimeError("killed")

    monkeypatch.setattr(Checkpoint, "write", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(Resume(path, every=35))
    assert path.exists()
    assert torch.equal(train(Resume(path, every=35)), whole)


@pytest.mark.parametrize("model", ["factor", "vae"])
def test_a_filled_table_has_the_dependences_of_the_complete_one(model: str) -> None:
    """Rank correlations of all pairs agree, where a third is filled in: none is diluted, none is invented."""
    random = np.random.default_rng(0)
    common = random.normal(size=(150, 2))
    table = pd.DataFrame(
        common @ random.normal(size=(2, 6)) + 0.4 * random.normal(size=(150, 6)), columns=list("abcdef")
    )
    table["e"] = np.exp(table["e"])
    filled = (
        Synthesizer(model, max_epochs=300, random_state=0)
        .fit(lost := table.mask(random.random(table.shape) < 0.3))
        .impute(lost)
    )
    whole, found = (x.corr(method="spearman").to_numpy()[np.triu_indices(6, 1)] for x in (table, filled))
    assert np.abs(found - whole).max() < 3 / np.sqrt(150)
    assert abs((np.abs(found) - np.abs(whole)).mean()) < 0.05
    # Stand-ins dilute them.
    typical = lost.fillna(lost.median()).corr(method="spearman").to_numpy()[np.triu_indices(6, 1)]
    assert (np.abs(typical) - np.abs(whole)).mean() < -0.1
