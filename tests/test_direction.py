"""Laws of directions: what is written, what contradicts, what is measured, and what a model learns from them."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from moreso import (
    Direction,
    Knowledge,
    KnowledgeError,
    Regularizer,
    Relation,
    Settings,
    Synthesizer,
    Verdict,
    audit,
    derive,
)
from moreso.dependence import RelativeDependence, median_bandwidth
from moreso.relations import DataError
from moreso.tabular import Reading, TableEncoder, expand, measure, read_table

RANDOM = torch.Generator().manual_seed(0)


def claims(text: str) -> list[str]:
    return [str(statement) for statement in Knowledge.parse(text)]


# What is written.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t: +a > -b > c", ["t: a > b", "t: +a", "t: b > c", "t: -b"]),
        ("t: +a", ["t: +a"]),
        ('t: -"a b"', ['t: -"a b"']),
        ("t: + a", ["t: +a"]),
        ("t: \u2212a", ["t: -a"]),
        ("t: c < -b < +a", ["t: a > b", "t: +a", "t: b > c", "t: -b"]),
        ("{t, u}: -{a, b}", ["t: -a", "t: -b", "u: -a", "u: -b"]),
        ("near = a, b\nt: +near > c", ["t: {a, b} > c", "t: +a", "t: +b"]),
        ("t: {+a, -b, c} > d", ["t: {a, b, c} > d", "t: +a", "t: -b"]),
        ("t: +a > b @ 0.5 # why", ["t: a > b  @ 0.5  # why", "t: +a  @ 0.5  # why"]),
        ("t: +a > b\nt: +a > c", ["t: a > b", "t: +a", "t: a > c"]),
        ("t: +a > b @ 0.5\na: +t", ["t: a > b  @ 0.5", "a: +t"]),
        ('t: +"-a"', ['t: +"-a"']),
        ("t: a-b > c+", ["t: a-b > c+"]),
    ],
)
def test_signs_are_read_before_names_and_groups(text: str, expected: list[str]) -> None:
    assert claims(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("t: a", "expected '>' and the weaker side"),
        ("t: {+a, b}", "expected '>' and the weaker side"),
        ("+t: a > b", "expected the name of a feature, found '+'"),
        ("near = -a, b", "expected the name of a feature, found '-'"),
        ("t: +{+a, b}", "the group has a sign, found '+'"),
        ("t: +", "expected the name of a feature"),
        ("t: +t", "'t' stands on both sides"),
        ("t: ? a", "'t: ? a' is still a question. Replace '?' by '+' or '-', or delete the line."),
        ("t: ? a ? b", "Replace '?' by '>' or '<' and by '+' or '-', or delete the line."),
    ],
)
def test_what_signs_cannot_say_is_refused(text: str, problem: str) -> None:
    with pytest.raises(KnowledgeError) as error:
        Knowledge.parse(text)
    assert problem in str(error.value)


def test_a_name_with_a_sign_of_its_own_is_hinted_at() -> None:
    _, problems = Knowledge.examine("a: -OH > b", ["a", "-OH", "b"])
    assert "Quote names that begin with a sign" in problems[0]
    assert Knowledge.examine('a: "-OH" > b', ["a", "-OH", "b"])[1] == []


# What contradicts, and what follows.


def test_opposite_directions_contradict_each_other_from_either_side() -> None:
    knowledge = Knowledge.parse("a: +b > c\nb: -a\nd: +a")
    assert [[str(each) for each in found] for found in knowledge.contradictions()] == [["a: +b", "b: -a"]]
    for refused in (knowledge.redundancies, knowledge.reduction, knowledge.closure):
        with pytest.raises(KnowledgeError, match="contradict each other"):
            refused()


def test_a_repeated_direction_is_redundant_and_orders_carry_directions_along() -> None:
    knowledge = Knowledge((Direction("a", "b", 1, 0.5), Relation("a", "b", "c"), Direction("b", "a", 1)))
    assert [(str(one), [str(each) for each in grounds]) for one, grounds in knowledge.redundancies()] == [
        ("a: +b  @ 0.5", ["b: +a"])
    ]
    assert [str(each) for each in knowledge.reduction()] == ["a: b > c", "b: +a"]
    closure = Knowledge.parse("a: +b > -c\na: c > d").closure()
    assert [str(each).split("  #")[0] for each in closure] == ["a: b > c", "a: +b", "a: -c", "a: c > d", "a: b > d"]


def test_converse_turns_the_sign() -> None:
    assert Direction("a", "b", 1).converse() == Direction("a", "b", -1)
    assert Relation("a", "b", "c", 0.5).converse() == Relation("a", "c", "b", 0.5)


@pytest.mark.parametrize("sign", ["+", "-", 1, -1])
def test_rows_of_a_table_hold_directions(sign: object) -> None:
    (found,) = Knowledge.from_records([{"ref": "a", "plus": ["b"], "sign": sign}])
    assert found == Direction("a", "b", 1 if sign in ("+", 1) else -1)


def test_rows_with_a_wrong_sign_are_refused_with_all_problems() -> None:
    with pytest.raises(KnowledgeError) as error:
        Knowledge.from_records([{"ref": ["a", "c"], "plus": "b", "minus": "d", "sign": "up"}])
    assert len(error.value.problems) == 3


def test_a_drawing_gives_directions_only_when_asked() -> None:
    places = {"a": 0.0, "b": 1.0, "c": 9.0, "d": 10.0}
    plain, rising = (derive.from_ordering(places, per_feature=1, rising=rising) for rising in (False, True))
    assert not plain.directions and rising.relations == plain.relations
    assert sorted(str(each).split("  #")[0] for each in rising.directions) == ["a: +b", "c: +d"]


# What is measured.


def expected_gap(left: torch.Tensor, right: torch.Tensor, sign: int) -> tuple[float, float]:
    """The covariance of the scores and its standard error, written literally in NumPy."""
    scores = []
    for x in (left, right):
        scores.append(norm.cdf((x.numpy() - np.median(x.numpy())) / median_bandwidth(x[:, None]).item()))
    products = (scores[0] - scores[0].mean()) * (scores[1] - scores[1].mean())
    count = len(products)
    value = products.sum() / (count - 1)
    error = np.sqrt(np.mean((products * count / (count - 1) - value) ** 2) / count)
    return sign * value, float(error)


def sample(count: int = 301) -> torch.Tensor:
    x = torch.randn(count, 4, generator=RANDOM, dtype=torch.float64)
    x[:, 1] = x[:, 0] + 0.5 * x[:, 1]
    x[:, 2] = (x[:, 2] - x[:, 0]).exp()
    return x


def test_a_gap_is_the_signed_covariance_of_the_scores() -> None:
    x = sample()
    gaps = RelativeDependence(Knowledge.parse("a: +b\na: b > d\nc: -a\nd: +c"), list("abcd"), data=x)(x)
    for place, (left, right, sign) in ((0, (0, 1, 1)), (2, (2, 0, -1)), (3, (3, 2, 1))):
        value, error = expected_gap(x[:, left], x[:, right], sign)
        assert gaps.gap[place].item() == pytest.approx(value, rel=1e-9)
        assert gaps.standard_error[place].item() == pytest.approx(error, rel=1e-9)
    alone = RelativeDependence(Knowledge.parse("a: b > d"), list("abcd"), data=x)(x)
    assert gaps.gap[1] == alone.gap[0] and gaps.standard_error[1] == alone.standard_error[0]


@pytest.mark.parametrize("normalize", [False, True])
def test_the_standard_error_is_the_spread_over_samples(normalize: bool) -> None:
    knowledge, every, errors = Knowledge.parse("a: +b\na: b > d\nc: -a"), [], []
    module = RelativeDependence(knowledge, list("abcd"), data=sample(2000), normalize=normalize)
    for _ in range(300):
        gaps = module(sample(200))
        every.append(gaps.gap)
        errors.append(gaps.standard_error)
    ratio = torch.stack(errors).mean(0) / torch.stack(every).std(0)
    assert ((ratio > 0.85) & (ratio < 1.2)).all(), ratio


def test_rows_in_blocks_of_one_have_the_plain_error_and_repeated_rows_the_error_of_one() -> None:
    x = sample(2500)
    module = RelativeDependence(Knowledge.parse("a: +b\na: b > d\nc: -a"), list("abcd"), data=x)
    own = torch.arange(len(x))
    torch.testing.assert_close(module(x).blocked_error(own), module(x).standard_error)
    twice = module(torch.cat([x, x]))
    assert (twice.blocked_error(torch.cat([own, own]))[0] / module(x).standard_error[0]).item() == pytest.approx(
        1, abs=0.01
    )
    normalized = RelativeDependence(module.knowledge, list("abcd"), data=x, normalize=True)(x)
    for blocks in (None, own):
        errors = normalized.errors(own, blocks)
        torch.testing.assert_close(errors.plain, module(x).standard_error)
        torch.testing.assert_close(errors.normalized, normalized.standard_error)
        torch.testing.assert_close((errors.sums @ errors.sums.T).diagonal().sqrt(), errors.plain)


def test_the_members_of_a_population_are_measured_one_by_one() -> None:
    x, texts = sample(), ("a: +b > c\nd: -a", "a: b > d\nb: -c")
    own = [Regularizer(text, list("abcd"), data=x[: 100 * (place + 1)]) for place, text in enumerate(texts)]
    stacked = own[0].stack(own[1:])
    assert stacked is not None
    batch = torch.stack([sample(), sample()])
    torch.testing.assert_close(stacked(batch), torch.stack([one(each) for one, each in zip(own, batch, strict=True)]))
    kept = stacked.keep(torch.tensor([1]))
    torch.testing.assert_close(kept(batch[1:]), own[1](batch[1])[None])


def test_callables_read_features_with_directions_and_one_number_each() -> None:
    x = sample()
    named = Regularizer("a: +b\nb: -c", list("abcd"), data=x)
    read = {name: (lambda rows, place=place: rows[:, place]) for place, name in enumerate("abcd")}
    assert Regularizer("a: +b\nb: -c", read, data=x)(x) == named(x)
    with pytest.raises(ValueError, match="gives 4 numbers"):
        Regularizer("a: +b", {"a": lambda rows: rows, "b": lambda rows: rows[:, 0]}, data=x)


def test_without_data_the_gap_has_no_scale() -> None:
    x = sample()
    module = RelativeDependence(Knowledge.parse("a: +b\nc: -a"), list("abcd"))
    torch.testing.assert_close(module(x).gap, module(x * 1000 + 7).gap)


def test_a_constant_column_has_no_direction_and_no_gradient() -> None:
    x = sample()
    module = Regularizer("a: +b\nc: -a", list("abcd"), data=x)
    still = x.clone()
    still[:, 1] = 2.0
    still.requires_grad_()
    gaps = module.gaps(still)
    assert gaps.statistic[0] == 0 and gaps.statistic[1] > 0
    module(still).backward()
    assert still.grad is not None
    assert still.grad.isfinite().all() and (still.grad[:, 1] == 0).all()


def test_gradients_turn_a_sign_that_hsic_cannot_see() -> None:
    # A line that falls has all the dependence that is asked for, and the wrong sign.
    z = torch.randn(256, 3, generator=RANDOM)
    slope = torch.tensor(-0.8, requires_grad=True)
    order, both = Regularizer("y: x > w", list("xyw")), Regularizer("y: +x > w", list("xyw"))

    def draw() -> torch.Tensor:
        return torch.stack([z[:, 0], slope * z[:, 0] + 0.6 * z[:, 1], z[:, 2]], 1)

    assert order(draw()).item() == 0
    (grad,) = torch.autograd.grad(both(draw()), slope)
    assert grad < 0
    optimizer = torch.optim.Adam([slope], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        both(draw()).backward()
        optimizer.step()
    assert slope.item() > 0.1


# Tables.


def grades(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    skill = random.normal(size=rows)
    mark = pd.cut(skill + random.normal(size=rows), [-9, -1, 0, 1, 9], labels=["poor", "fair", "good", "best"])
    passed = pd.Series(skill + random.normal(size=rows) > 0, dtype="boolean")
    passed[0] = pd.NA
    town = random.choice(["north", "south"], rows)
    two = pd.Categorical(np.where(skill > 0, "up", "down"), categories=["down", "up"], ordered=True)
    return pd.DataFrame(
        {"skill": skill, "mark": mark, "passed": passed, "town": town, "two": two, "noise": random.normal(size=rows)}
    )


@pytest.mark.parametrize("kept", [True, False])
def test_ordered_categories_and_truth_values_have_a_direction(kept: bool) -> None:
    table = grades()
    if not kept:
        # Truth values as objects, and levels whose order is not that of their letters.
        table["passed"] = table["passed"].astype(object).where(table["passed"].notna(), None)
    found = audit(table, "skill: +mark > noise\nmark: +passed\nskill: +passed\ntwo: +mark\nmark: -skill")
    verdicts = {str(each.relation): each.verdict for each in found}
    assert [verdicts[each].holds for each in ("skill: +mark", "mark: +passed", "skill: +passed", "two: +mark")] == [
        True
    ] * 4
    assert verdicts["mark: -skill"] is Verdict.CONTRADICTED


def test_categories_without_an_order_are_refused_with_their_levels() -> None:
    with pytest.raises(DataError, match=r"'town' holds categories without an order \('(north|south)'"):
        audit(grades(), "skill: +town > noise")
    assert audit(grades(), "skill: mark > town")


def test_samples_are_seen_as_an_audit_sees_rows() -> None:
    table = grades().drop(index=0)
    encoder = TableEncoder.fit(table)
    view = encoder.view(["skill", "mark", "two"], ["mark", "two"])
    seen = view(torch.from_numpy(encoder.encode(table))).numpy()
    measured = measure(table, table, ["skill", "mark", "two"], ["mark", "two"])
    assert view.names == measured.columns
    for name in ("mark\nrank", "two\nrank"):
        own, other = seen[:, view.names.index(name)], measured.rows[:, measured.columns.index(name)]
        assert np.corrcoef(own, other)[0, 1] > 0.99


def test_features_of_several_columns_have_no_direction_without_a_rank() -> None:
    knowledge, parts = Knowledge.parse("a: +b"), {"a": ("a",), "b": ("b0", "b1")}
    with pytest.raises(KnowledgeError, match="'b' is measured as categories"):
        expand(knowledge, parts)
    assert str(expand(knowledge, parts, {"b": "rank"})) == "a: +rank"


def test_a_text_column_gets_an_order_in_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "sizes.csv"
    path.write_text("size,price\nsmall,1\nlarge,9\nmedium,4\n,3\n")
    table = read_table(path, Reading(kinds={"size": "small<medium<large"})).table
    assert table["size"].dtype == pd.CategoricalDtype(["small", "medium", "large"], ordered=True)
    assert table["size"].isna().tolist() == [False, False, False, True]
    with pytest.raises(DataError, match="holds 'medium', which is none of the levels small, large"):
        read_table(path, Reading(kinds={"size": "small<large"}))
    assert Reading(kinds={"size": "small<"}).problems()


def test_a_model_learns_a_direction_that_its_rows_do_not_show(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(30, 4))
    table = pd.DataFrame(x, columns=list("abcd")).assign(
        grade=pd.cut(x[:, 0], [-9, -0.5, 0.5, 9], labels=["z", "m", "a"])
    )
    knowledge = "b: +a > c\ngrade: -d"
    settings = Settings(members=2, ratio=1.0)
    fitted = Synthesizer(
        "vae", knowledge, trust="all", compare=False, max_epochs=60, random_state=0, settings=settings
    ).fit(table)
    samples = fitted.sample(2000, random_state=0)
    assert samples["a"].corr(samples["b"]) > 0.1
    assert samples["grade"].cat.codes.corr(samples["d"]) < -0.05
    path = tmp_path / "a.model"
    fitted.save(path)
    assert Synthesizer.load(path).sample(50, random_state=1).equals(fitted.sample(50, random_state=1))


def test_statements_left_out_are_saved_and_loaded(tmp_path: Path) -> None:
    table = grades()[["skill", "mark", "noise"]]
    with pytest.warns(UserWarning, match="'skill: -mark' was left out of training"):
        fitted = Synthesizer("factor", "skill: -mark\nskill: mark > noise", random_state=0).fit(table)
    assert [str(each) for each in fitted.left_out_] == ["skill: -mark"]
    path = tmp_path / "a.model"
    fitted.save(path)
    assert Synthesizer.load(path).left_out_ == fitted.left_out_


@pytest.mark.parametrize("rows", [30, 300])
def test_independent_columns_rise_or_fall_no_more_often_than_the_level(rows: int) -> None:
    random, share = np.random.default_rng(0), []
    for _ in range(4):
        table = pd.DataFrame(
            {f"normal{i}": random.normal(size=rows) for i in range(4)}
            | {f"heavy{i}": random.standard_t(1.5, size=rows) for i in range(4)}
            | {f"tied{i}": random.binomial(2, 0.2, size=rows) for i in range(4)}
            | {f"skewed{i}": random.exponential(size=rows) ** 3 for i in range(4)}
        )
        pairs = [Direction(one, other, 1) for one, other in combinations(map(str, table), 2)]
        share += [min(each.pvalue, each.converse_pvalue) < 0.025 for each in audit(table, Knowledge(tuple(pairs)))]
    # 480 pairs, hardly dependent on each other: three standard deviations.
    assert 0.01 < np.mean(share) < 0.05 + 3 * (0.05 * 0.95 / len(share)) ** 0.5
