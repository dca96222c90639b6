"""Tables in, tables out."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from moreso import DataError, Knowledge, KnowledgeError, Relation, Settings, Synthesizer, report
from moreso import _archive as archive
from moreso.models import MODELS, VAE, FactorAnalysis, log_prob_known, members
from moreso.models.layers import Dropout
from moreso.synthesizer import fitted as fitted_module
from moreso.synthesizer import selection
from moreso.synthesizer.ensemble import count_members
from moreso.synthesizer.selection import dropout_shares, harmed
from moreso.training import Processes, population, split

KNOWLEDGE = Knowledge.parse("outlet: inlet > ambient  # same pipe")


def quick(**given: Any) -> Synthesizer:
    """A fit of a moment, obedient: after so few epochs chance decides whether statements harm."""
    return Synthesizer(**{"model": "factor", "max_epochs": 15, "random_state": 0, "trust": "all", **given})


@pytest.fixture
def _nothing_harms(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of `trust="audit"` that are about something else than harm."""
    monkeypatch.setattr(selection, "harmed", lambda plain, informed: False)


def penalties(fitted: Synthesizer) -> list[tuple[float, ...]]:
    return [history.penalty for history in fitted.histories_]


@pytest.mark.parametrize("model", ["factor", "vae"])
def test_samples_have_the_form_of_the_table(plant: pd.DataFrame, model: str) -> None:
    table = plant.astype({"inlet": "float32"})
    synthesizer = quick(model=model, knowledge=KNOWLEDGE).fit(table)
    for n in (1, 37, 1000):
        sample = synthesizer.sample(n)
        assert len(sample) == n
        pd.testing.assert_series_equal(sample.dtypes, table.dtypes)
        assert np.isfinite(sample.to_numpy(dtype=float)).all()


def test_the_same_seed_gives_the_same_bits(plant: pd.DataFrame) -> None:
    one, two, other = (quick(random_state=seed).fit(plant) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.sample(20), two.sample(20))
    assert not one.sample(20).equals(other.sample(20))
    assert not one.sample(20).equals(one.sample(20, random_state=5))
    np.testing.assert_array_equal(one.score_samples(plant), two.score_samples(plant))


def test_likelihood_is_a_density_in_the_units_of_the_table(plant: pd.DataFrame) -> None:
    before = quick().fit(plant).score_samples(plant)
    scaled = plant.assign(ambient=plant.ambient * 1000)
    after = quick().fit(scaled).score_samples(scaled[list(reversed(scaled.columns))])
    np.testing.assert_allclose(after, before - np.log(1000), rtol=1e-4)


def test_the_plain_twin_is_the_model_without_knowledge(plant: pd.DataFrame) -> None:
    synthesizer = quick(knowledge=KNOWLEDGE).fit(plant)
    plain = quick().fit(plant)
    assert synthesizer.plain_ is not None
    pd.testing.assert_frame_equal(synthesizer.plain_.sample(10), plain.sample(10))
    assert not synthesizer.sample(10).equals(plain.sample(10))
    assert quick(knowledge=KNOWLEDGE, compare=False).fit(plant).plain_ is None
    assert plain.plain_ is None


def test_weight_0_is_the_plain_model(plant: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        quick(knowledge=KNOWLEDGE, weight=0).fit(plant).sample(10), quick().fit(plant).sample(10)
    )


@pytest.mark.parametrize("model", ["factor", "vae"])
def test_a_saved_model_comes_back_whole(plant: pd.DataFrame, tmp_path: Path, model: str) -> None:
    synthesizer = quick(model=model, knowledge=KNOWLEDGE, weight=0.5).fit(plant)
    synthesizer.save(tmp_path / "plant.model")
    loaded = Synthesizer.load(tmp_path / "plant.model")
    pd.testing.assert_frame_equal(loaded.sample(10), synthesizer.sample(10))
    np.testing.assert_array_equal(loaded.score_samples(plant), synthesizer.score_samples(plant))
    assert loaded.get_params() == synthesizer.get_params()
    assert loaded.histories_ == synthesizer.histories_
    assert loaded.plain_ is not None
    assert synthesizer.plain_ is not None
    pd.testing.assert_frame_equal(loaded.plain_.sample(10), synthesizer.plain_.sample(10))
    assert [path.name for path in tmp_path.iterdir()] == ["plant.model"]


def test_a_file_of_another_model_is_told(plant: pd.DataFrame, tmp_path: Path) -> None:
    """As one whose model has got other parameters since."""
    path = tmp_path / "model"
    quick().fit(plant).save(path)
    header, tensors = archive.read(path)
    archive.write(path, header, {("model.older" if "mean" in name else name): x for name, x in tensors.items()})
    with pytest.raises(
        ValueError, match=r"does not hold the parameters of this model .* fit and save it again\."
    ) as caught:
        Synthesizer.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_model_of_the_users_own(plant: pd.DataFrame, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        own = FactorAnalysis(4, n_latent=2)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    synthesizer = quick(model=own, knowledge=KNOWLEDGE).fit(plant)
    torch.testing.assert_close(dict(own.state_dict()), before)
    synthesizer.save(tmp_path / "own.model")
    loaded = Synthesizer.load(tmp_path / "own.model", model=lambda width: FactorAnalysis(width, n_latent=2))
    pd.testing.assert_frame_equal(loaded.sample(10), synthesizer.sample(10))
    with pytest.raises(ValueError, match="a model of your own"):
        Synthesizer.load(tmp_path / "own.model")


def test_scikit_learn_conventions(plant: pd.DataFrame) -> None:
    synthesizer = quick(knowledge=KNOWLEDGE, weight=2.0)
    copy = clone(synthesizer)
    assert copy.get_params() == synthesizer.get_params()
    assert synthesizer.set_params(weight=1.0).weight == 1.0
    with pytest.raises(NotFittedError):
        synthesizer.sample(3)
    with pytest.raises(NotFittedError):
        synthesizer.score_samples(plant)
    assert list(synthesizer.fit(plant).feature_names_in_) == list(plant.columns)


def test_an_unset_seed_is_drawn_and_kept(plant: pd.DataFrame) -> None:
    one, two = quick(random_state=None).fit(plant), quick(random_state=None).fit(plant)
    assert one.seed_ != two.seed_
    pd.testing.assert_frame_equal(one.sample(5), quick(random_state=one.seed_).fit(plant).sample(5))


@pytest.mark.usefixtures("_nothing_harms")
def test_what_the_rows_contradict_is_left_out_and_told(plant: pd.DataFrame, tmp_path: Path) -> None:
    both = Knowledge.parse("outlet: ambient > inlet\nflow: inlet > ambient")
    open_only = quick(knowledge=Knowledge.parse("flow: inlet > ambient")).fit(plant)
    with pytest.warns(UserWarning, match="'outlet: ambient > inlet' was left out of training"):
        audited = quick(knowledge=both, trust="audit").fit(plant)
    assert audited.left_out_ == (Relation("outlet", "ambient", "inlet"),)
    pd.testing.assert_frame_equal(audited.sample(20), open_only.sample(20))
    obeyed = quick(knowledge=both, trust="all").fit(plant)
    assert obeyed.left_out_ == ()
    assert penalties(obeyed) != penalties(open_only) == penalties(audited)
    audited.save(tmp_path / "model")
    assert Synthesizer.load(tmp_path / "model").left_out_ == audited.left_out_


@pytest.mark.usefixtures("_nothing_harms")
def test_with_all_left_out_the_model_is_the_plain_one(plant: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match="was left out"):
        fitted = quick(knowledge=Knowledge.parse("outlet: ambient > inlet"), trust="audit").fit(plant)
    assert fitted.plain_ is not None
    pd.testing.assert_frame_equal(fitted.sample(20), fitted.plain_.sample(20))


def test_what_follows_is_not_trained_twice(plant: pd.DataFrame) -> None:
    texts = ("outlet: inlet > flow > ambient", "outlet: inlet > flow > ambient\noutlet: inlet > ambient")
    one, two = (penalties(quick(knowledge=Knowledge.parse(text), trust="all").fit(plant)) for text in texts)
    assert one == two


def test_a_log_has_a_line_an_epoch_of_both_fits(plant: pd.DataFrame, tmp_path: Path) -> None:
    fitted = quick(knowledge=KNOWLEDGE).fit(plant, log=tmp_path)
    assert fitted.plain_ is not None
    for name, histories in {"knowledge": fitted.histories_, "plain": fitted.plain_.histories_}.items():
        for suffix, history in zip(("", "-2", "-3", "-4"), histories, strict=True):
            lines = pd.read_csv(tmp_path / f"{name}{suffix}" / "version_0" / "metrics.csv")
            assert lines["validation_loss"].tolist() == pytest.approx(list(history.validation_loss))
            assert ("held" in lines) == (name == "knowledge")


def test_an_interrupted_fit_is_usable_and_fits_nothing_more(plant: pd.DataFrame, tmp_path: Path) -> None:
    at = 9

    class Interrupted(FactorAnalysis):
        def loss(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            if len(calls) == at:
                raise KeyboardInterrupt
            return super().loss(x)

    calls: list[int] = []
    fitted = quick(model=Interrupted, knowledge=KNOWLEDGE).fit(plant)
    assert [history.interrupted for history in fitted.histories_] == [True] * 4
    assert fitted.plain_ is None
    assert len(calls) == at
    fitted.save(tmp_path / "model")
    loaded = Synthesizer.load(tmp_path / "model", model=FactorAnalysis)
    pd.testing.assert_frame_equal(loaded.sample(30), fitted.sample(30))


@pytest.mark.parametrize("likelier", [0.0, 0.3])
def test_validation_rows_choose_the_dropout(
    plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, likelier: float
) -> None:
    """Without knowledge; the model with it then has the same."""

    def score(model: torch.nn.Module, **rest: object) -> np.ndarray:
        dropouts = [part.rate.item() for part in model.modules() if isinstance(part, Dropout)]
        assert len(dropouts) == 2 * 4
        return np.array([float(rate == pytest.approx(likelier)) for rate in dropouts])

    fitted = {share: quick(model="vae", settings=Settings(dropout=share)).fit(plant) for share in (0.0, 0.3)}
    monkeypatch.setattr(sys.modules["moreso.synthesizer.estimator"], "unseen_density", score)
    chosen = quick(model="vae").fit(plant)
    assert chosen.dropout_ == likelier
    assert chosen.histories_ == fitted[likelier].histories_ != fitted[0.3 - likelier].histories_
    pd.testing.assert_frame_equal(chosen.sample(9), fitted[likelier].sample(9))
    informed = quick(model="vae", knowledge=KNOWLEDGE).fit(plant)
    alone = quick(model="vae", knowledge=KNOWLEDGE, settings=Settings(dropout=likelier), compare=False).fit(plant)
    assert informed.plain_ is not None
    assert informed.dropout_ == informed.plain_.dropout_ == likelier
    pd.testing.assert_frame_equal(informed.sample(9), alone.sample(9))
    pd.testing.assert_frame_equal(informed.plain_.sample(9), chosen.sample(9))
    assert quick(model="vae", knowledge=KNOWLEDGE, compare=False).fit(plant).plain_ is None
    informed.save(tmp_path / "model")
    loaded = Synthesizer.load(tmp_path / "model")
    assert loaded.dropout_ == likelier
    pd.testing.assert_frame_equal(loaded.sample(9), informed.sample(9))


def test_dropout_is_chosen_where_vaes_are_mixed_alone() -> None:
    assert len(dropout_shares("vae", None, 2)) == 2
    for settings in [("vae", None, 1), ("flow", None, 4), (FactorAnalysis, None, 4)]:
        assert dropout_shares(*settings) == [0.0]
    assert dropout_shares("vae", 0.1, 4) == [0.1]


@pytest.mark.parametrize(("at", "models"), [(3, 4), (12, 4)])
def test_interrupted_in_the_choice_of_dropout_the_model_is_plain_and_says_so(
    plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int, models: int
) -> None:
    """What was whole is kept."""

    def loss(self: VAE, x: torch.Tensor) -> torch.Tensor:
        calls.append(self.training)
        if sum(calls) == at:
            raise KeyboardInterrupt
        return own(self, x)

    calls: list[bool] = []
    own = VAE.loss
    monkeypatch.setattr(VAE, "loss", loss)
    with pytest.warns(UserWarning, match=r"interrupted before a model with the statements was .* Fit it again"):
        fitted = quick(model="vae", knowledge=KNOWLEDGE).fit(plant, checkpoint=tmp_path / "a.checkpoint")
    assert sum(calls) == at
    assert len(members(fitted.model_)) == models == len(fitted.histories_)
    assert [history.interrupted for history in fitted.histories_] == [True] * models
    assert fitted.dropout_ in (0, 0.3)
    assert not list(tmp_path.iterdir())
    assert fitted.plain_ is not None
    pd.testing.assert_frame_equal(fitted.sample(9), fitted.plain_.sample(9))


def test_interrupted_with_knowledge_the_better_of_both_is_kept(
    plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the rows that are of both, where plain models had chosen the dropout."""

    def loss(self: VAE, x: torch.Tensor) -> torch.Tensor:
        calls.append(self.training)
        if sum(calls) == 2 + 15 + 2 + 8:
            raise KeyboardInterrupt
        return own(self, x)

    def judge(plain: np.ndarray, informed: np.ndarray) -> bool:
        lengths.append((len(plain), len(informed)))
        return harm

    own = VAE.loss
    lengths: list[tuple[int, int]] = []
    monkeypatch.setattr(VAE, "loss", loss)
    monkeypatch.setattr(selection, "harmed", judge)
    for harm in (False, True):
        calls: list[bool] = []
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fitted = quick(model="vae", knowledge=KNOWLEDGE, trust="audit").fit(plant)
        assert fitted.plain_ is not None
        assert len(members(fitted.plain_.model_)) == 4
        assert len(members(fitted.model_)) == 4
        assert fitted.sample(9).equals(fitted.plain_.sample(9)) == harm
        assert bool(fitted.harm_) == harm == any("was interrupted before" in str(each.message) for each in told)
    assert lengths == [(60, 60)] * 2


def test_no_other_checkpoints_are_deleted(plant: pd.DataFrame, tmp_path: Path) -> None:
    foreign = {tmp_path / name for name in ("a-dropout", "a-dropout-2", "a.plain")}
    for path in foreign:
        path.touch()
    quick(max_epochs=1).fit(plant, checkpoint=tmp_path / "a")
    assert set(tmp_path.iterdir()) == foreign


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_trains_on_the_best_device(plant: pd.DataFrame, model: str, precision: str, tmp_path: Path) -> None:
    """On a GPU where there is one; what was trained is on the CPU, and of single precision."""
    settings = Settings(precision=precision)
    fitted = quick(model=model, knowledge=KNOWLEDGE, device="auto", compare=False, max_epochs=3, settings=settings)
    fitted.fit(plant)
    assert {(value.device.type, value.is_floating_point() and value.dtype) for value in fitted.model_.parameters()} == {
        ("cpu", torch.float32)
    }
    assert np.isfinite(fitted.sample(20).to_numpy(dtype=float)).all()
    fitted.save(tmp_path / "model")
    pd.testing.assert_frame_equal(Synthesizer.load(tmp_path / "model").sample(20), fitted.sample(20))


def test_a_model_that_knowledge_harms_gives_way_to_the_plain_one(
    plant: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "harmed", lambda plain, informed: False)
    helped = quick(knowledge=KNOWLEDGE, trust="audit").fit(plant)
    assert not helped.harm_
    assert helped.plain_ is not None
    assert not helped.sample(20).equals(helped.plain_.sample(20))
    monkeypatch.setattr(selection, "harmed", lambda plain, informed: True)
    assert not quick(knowledge=KNOWLEDGE, trust="all").fit(plant).harm_
    with pytest.warns(UserWarning, match=r"seem to harm: .* nats a row on 60 validation rows.* model was kept"):
        fitted = quick(knowledge=KNOWLEDGE, trust="audit").fit(plant)
    assert fitted.plain_ is not None
    pd.testing.assert_frame_equal(fitted.sample(20), fitted.plain_.sample(20))
    fitted.save(tmp_path / "model")
    assert Synthesizer.load(tmp_path / "model").harm_ == fitted.harm_
    assert any("seem to harm" in line for line in report(fitted, plant, draws=200).summary)


def test_validation_rows_judge_harm(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(plain: np.ndarray, informed: np.ndarray) -> bool:
        seen.append(plain)
        return False

    seen: list[np.ndarray] = []
    monkeypatch.setattr(selection, "harmed", judge)
    fitted = quick(knowledge=KNOWLEDGE, trust="audit").fit(plant)
    assert fitted.plain_ is not None
    # For the factor model the validation loss is the mean of minus the log-likelihood, but for the change of units.
    for fold, (scores, history) in enumerate(zip(np.split(seen[0], 4), fitted.plain_.histories_, strict=True)):
        _, stops = split(len(plant), 0.25, fitted.seed_, fold)
        slope = fitted.encoder_.log_slope(fitted.encoder_.encode(plant.iloc[stops.numpy()]))
        assert slope.mean() - scores.mean() == pytest.approx(min(history.validation_loss), rel=1e-4)


def test_few_rows_are_all_trained_on_by_a_mixture(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is stopped by rows of its own, and the mixture's density is the mean of theirs."""
    fitted = quick().fit(plant)
    models = members(fitted.model_)
    assert len(models) == 4 == len(fitted.histories_)
    parts = [split(len(plant), 0.25, fitted.seed_, fold)[1] for fold in range(4)]
    assert sorted(torch.cat(parts).tolist()) == list(range(len(plant)))
    encoded = torch.as_tensor(fitted.encoder_.encode(plant), dtype=torch.float32)
    each = torch.stack([model.log_prob(encoded) for model in models])  # type: ignore[operator]
    densities = fitted.score_samples(plant) - fitted.encoder_.log_slope(encoded.numpy())
    np.testing.assert_allclose(densities, each.logsumexp(0).detach() - np.log(4), rtol=1e-4)
    unseen = fitted.score_unseen(plant) - fitted.encoder_.log_slope(encoded[torch.cat(parts)].numpy())
    own = torch.cat([model.log_prob(encoded[part]) for model, part in zip(models, parts, strict=True)])  # type: ignore[operator]
    np.testing.assert_allclose(unseen, own.detach(), rtol=1e-4)
    assert len(members(quick(settings=Settings(members=2)).fit(plant).model_)) == 2


@pytest.mark.parametrize(
    ("rows", "count"), [(4, 4), (6, 3), (200, 4), (201, 3), (266, 3), (400, 2), (401, 1), (5000, 1)]
)
def test_the_more_rows_the_fewer_models(rows: int, count: int) -> None:
    assert count_members(rows, 0.25) == count
    assert count_members(rows, 0.5) == min(2, count)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-5, 5)), min_size=1, max_size=20))
def test_harm_is_a_mean_that_is_lower_by_more_than_nothing(pairs: list[tuple[float, float]]) -> None:
    plain, change = map(np.array, zip(*pairs, strict=True))
    assume(abs(change.mean() + selection.HARM) > 1e-9)
    assert harmed(plain, plain + change) == (change.mean() < -selection.HARM)


def test_harm_where_a_row_has_no_density() -> None:
    plain = np.array([0.0, 1.0])
    none = np.array([0.0, -np.inf])
    assert harmed(plain, none) and harmed(plain, np.array([0.0, np.nan]))
    assert not harmed(none, plain) and not harmed(none, none) and not harmed(plain, plain)


def test_long_tables_are_scored_in_parts(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of an importance-weighted density grows with the rows that are scored at once."""
    fitted = quick().fit(plant)
    seen: list[int] = []
    whole = fitted.score_samples(plant)

    def spy(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return log_prob_known(model, x)

    monkeypatch.setattr(fitted_module, "SCORED", 25)
    monkeypatch.setattr(fitted_module, "log_prob_known", spy)
    np.testing.assert_allclose(fitted.score_samples(plant), whole, rtol=1e-5)
    assert seen == [25, 25, 10]


def test_harm_is_judged_on_a_bounded_number_of_rows(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(plain: np.ndarray, informed: np.ndarray) -> bool:
        seen.append(len(plain))
        return False

    seen: list[int] = []
    monkeypatch.setattr(selection, "harmed", judge)
    monkeypatch.setattr(fitted_module, "JUDGES", 9)
    quick(knowledge=KNOWLEDGE, trust="audit").fit(plant)
    assert seen == [8]


@pytest.mark.parametrize("model", ["factor", "vae"])
def test_a_killed_fit_does_not_repeat_the_population_that_had_ended(
    plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    """The models with knowledge are trained before the plain ones, or after those that choose the dropout."""
    batches, ran, deadly = population._batches, [0], 10**9

    def dying(rows: torch.Tensor, size: int, processes: Processes) -> Iterator[torch.Tensor]:
        ran[0] += 1
        if ran[0] == deadly:
            raise SystemError
        return batches(rows, size, processes)

    monkeypatch.setattr(population, "_batches", dying)
    file = tmp_path / "a.checkpoint"

    def fit() -> Synthesizer:
        synthesizer = Synthesizer(model, Knowledge.parse("outlet: inlet > ambient"), max_epochs=9, random_state=0)
        return synthesizer.fit(plant[:40], checkpoint=file)

    whole = fit()
    # Nine epochs each: death comes in the fifth of the second population.
    ran, deadly = [0], 9 + 5
    with pytest.raises(SystemError):
        fit()
    assert len(list(tmp_path.iterdir())) == 1
    ran, deadly = [0], 10**9
    again = fit()
    assert ran == [9] and not list(tmp_path.iterdir())
    assert again.histories_ == whole.histories_
    assert again.sample(5, random_state=1).equals(whole.sample(5, random_state=1))
    assert again.plain_ is not None and whole.plain_ is not None
    assert again.plain_.sample(5, random_state=1).equals(whole.plain_.sample(5, random_state=1))


def test_a_mixture_of_models_without_density_has_none(plant: pd.DataFrame) -> None:
    fitted = quick(model="gan", knowledge=KNOWLEDGE, max_epochs=2).fit(plant)
    assert len(members(fitted.model_)) == 4 and not fitted.has_likelihood and fitted.name == "gan"
    for score in (fitted.score_samples, fitted.score_unseen):
        with pytest.raises(TypeError, match=r"the model 'gan' has no 'log_prob\(x\)', so rows have no likelihood"):
            score(plant)
    own = quick(model=FactorAnalysis, max_epochs=2).fit(plant)
    assert own.name == "FactorAnalysis" and own.has_likelihood


def test_a_fit_is_one_frozen_value(plant: pd.DataFrame) -> None:
    """Set once, at the end; what was fitted before stays when a fit fails."""
    synthesizer = quick(knowledge=KNOWLEDGE).fit(plant)
    before = synthesizer.fitted_
    with pytest.raises(DataError):
        synthesizer.fit(plant[:3])
    assert synthesizer.fitted_ is before
    with pytest.raises(AttributeError):
        before.seed = 7  # type: ignore[misc]
    assert synthesizer.plain_ is not None and synthesizer.plain_.fitted_ is before.plain
    assert synthesizer.plain_.knowledge is None


def test_all_problems_are_raised_at_once_as_what_they_are(plant: pd.DataFrame) -> None:
    table = plant.assign(flow=np.inf)
    for settings, kind, count in (
        ({"knowledge": Knowledge.parse("outlet: inlet > flow\noutlet: wind > rain"), "weight": -1}, KnowledgeError, 4),
        ({"weight": -1}, DataError, 2),
    ):
        with pytest.raises(kind) as caught:
            quick(**settings).fit(table)
        assert len(str(caught.value).splitlines()) == count
    with pytest.raises(ValueError, match="weight") as plain:
        quick(weight=-1).fit(plant)
    assert not isinstance(plain.value, DataError | KnowledgeError)


@pytest.mark.filterwarnings("ignore:1 pair of columns")
def test_statements_about_columns_that_were_never_observed_together_are_trained(plant: pd.DataFrame) -> None:
    table = plant.copy()
    table.loc[:29, "inlet"] = np.nan
    table.loc[30:, "ambient"] = np.nan
    fitted = quick(knowledge=KNOWLEDGE, compare=False).fit(table)
    assert fitted.left_out_ == ()
    assert all(history.penalty and max(history.penalty) > 0 for history in fitted.histories_)
