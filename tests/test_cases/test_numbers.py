"""Numbers of any size, and columns that do not vary."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moreso import DataError, Knowledge, Regularizer, Synthesizer, audit, hsic, relative_test, report
from moreso.dependence import Dependence

TEXT = "outlet: inlet > ambient"
KNOWN = Knowledge.parse(TEXT)
NAMES = ["ambient", "inlet", "outlet"]


def plant(scale: float = 1.0, n: int = 60, dtype: str = "float64") -> pd.DataFrame:
    """A table in which outlet follows inlet, whose numbers have a size of their own."""
    random = np.random.default_rng(0)
    inlet = random.normal(size=n)
    table = pd.DataFrame({"ambient": random.normal(10, 5, size=n), "outlet": inlet**2 + 0.1 * random.normal(size=n)})
    return table.assign(inlet=(inlet * scale).astype(dtype))[NAMES]


def samples(scale: float = 1.0, n: int = 200, dtype: torch.dtype = torch.double) -> Tensor:
    return torch.tensor(plant(scale, n).to_numpy()).to(dtype)


@pytest.fixture(autouse=True)
def _no_warning_is_allowed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Tables: an audit does not depend on the units of a column.


@pytest.mark.parametrize("scale", [1e149, 1e-19, 1e-150, 1e-160, 1e-170, 1e-300, 1e-310])
def test_an_audit_does_not_depend_on_the_size_of_numbers(scale: float) -> None:
    numbers = ["gap", "standard_error", "pvalue", "normalized_gap", "stability"]
    expected, found = (audit(plant(each), KNOWN).to_frame() for each in (1.0, scale))
    np.testing.assert_allclose(found[numbers].to_numpy(float), expected[numbers].to_numpy(float), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e38, 1e-19, 1e-38])
def test_nor_do_those_of_columns_in_single_precision(scale: float) -> None:
    expected, found = (audit(plant(each, dtype="float32"), KNOWN).findings[0] for each in (1.0, scale))
    assert found.gap == pytest.approx(expected.gap, rel=1e-6)


@pytest.mark.parametrize("model", ["factor", "vae"])
@pytest.mark.parametrize("scale", [1e-19, 1e-310, 1e140])
def test_a_fit_does_not_depend_on_the_size_of_numbers(model: str, scale: float) -> None:
    """Not even if columns are transformed or have a point mass, which samples are decoded for."""

    def table(own: float) -> pd.DataFrame:
        one = plant(n=30)
        skewed, rain = np.exp(2 * one["inlet"]), np.where(one["inlet"] > 0.3, np.exp(one["inlet"]), 0.0)
        return one.assign(skewed=skewed * own, rain=rain * own)

    knowledge = Knowledge.parse(f"{TEXT}\nrain: skewed > ambient")
    settings = {"max_epochs": 4, "random_state": 0, "trust": "all", "compare": False}
    fits = [Synthesizer(model, knowledge, **settings).fit(table(own)) for own in (1.0, scale)]  # type: ignore[arg-type]
    expected, found = (fitted.histories_[0] for fitted in fits)
    np.testing.assert_allclose(found.validation_loss, expected.validation_loss, rtol=1e-5)
    np.testing.assert_allclose(found.penalty, expected.penalty, rtol=1e-4)
    one, other = (fitted.sample(50)["skewed"] / own for fitted, own in zip(fits, (1.0, scale), strict=True))
    np.testing.assert_allclose(other, one, rtol=1e-4)
    assert np.isfinite(fits[1].score_samples(table(scale))).all()


def test_a_report_of_tiny_numbers() -> None:
    table = plant(1e-310, n=30)
    fitted = Synthesizer("factor", KNOWN, max_epochs=4, random_state=0, trust="all").fit(table)
    (row,) = report(fitted, table, draws=200).statements
    assert np.isfinite([row.data.gap, row.with_knowledge.gap, row.without.gap]).all()


@pytest.mark.parametrize("call", [lambda x: audit(x, KNOWN), Synthesizer("factor", max_epochs=1).fit])
@pytest.mark.parametrize(
    ("scale", "dtype", "sentence"),
    [
        (5e-324, "float64", r"'inlet' varies by 2e-323 alone, and float64 keeps only multiples of 5e-324 .* Rescale"),
        (1e-45, "float32", r"'inlet' varies by .* alone, and float32 keeps only multiples of 1e-45 .* Rescale"),
        (1e170, "float64", r"'inlet' holds .*e\+170, and numbers may be 1e\+150 at most\. Rescale"),
    ],
)
def test_numbers_that_a_dtype_cannot_carry_are_refused(
    call: Callable[[pd.DataFrame], object], scale: float, dtype: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        call(plant(scale, dtype=dtype))


# Samples: values and gradients have the right units.

SIZES = [(torch.double, scale) for scale in (1e-170, 1e170, 1e300)]
SIZES += [(torch.float32, scale) for scale in (1e-19, 1e-25, 1e19, 1e25, 1e37)]


def with_gradient(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Tensor]:
    x = x.clone().requires_grad_()
    value = call(x)
    (gradient,) = torch.autograd.grad(value, x)
    return value.item(), gradient


@pytest.mark.parametrize(("dtype", "scale"), SIZES)
def test_hsic_does_not_depend_on_the_size_of_numbers(dtype: torch.dtype, scale: float) -> None:
    ambient, inlet, outlet = samples().to(dtype).T
    one, slope = with_gradient(lambda x: hsic(x, outlet), inlet)
    other, scaled = with_gradient(lambda x: hsic(x, outlet), inlet * scale)
    assert other == pytest.approx(one, rel=1e-5)
    assert ((scaled.double() * scale - slope).abs() < 1e-5 * slope.abs().max()).all()
    if dtype == torch.double:
        expected, found = (relative_test(outlet, each, ambient) for each in (inlet, inlet * scale))
        assert found.pvalue == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("dtype", "scale"), SIZES)
def test_nor_does_a_penalty(dtype: torch.dtype, scale: float, frozen: bool, n: int, wide: bool) -> None:
    found = []
    for own in (1.0, scale):
        x, names = samples(n=n).to(dtype) * torch.tensor([1.0, own, 1.0], dtype=dtype), NAMES
        text = "outlet: ambient > inlet"
        if wide:
            x, names, text = torch.cat([x, x[:, 1:2].flip(0)], 1), [*NAMES, "flow"], "outlet: ambient > {inlet, flow}"
        value, gradient = with_gradient(Regularizer(Knowledge.parse(text), names, data=x if frozen else None), x)
        assert gradient.isfinite().all()
        units = torch.tensor([1.0, own, 1.0, own], dtype=torch.double)[: x.shape[1]]
        found.append((value, gradient.double() * units))
    (one, slope), (other, scaled) = found
    assert other == pytest.approx(one, rel=1e-5) and one > 0
    assert ((scaled - slope).abs() < 1e-4 * slope.abs().amax(0)).all()


@given(st.integers(-950, 1000))
def test_a_power_of_two_changes_no_bit(power: int) -> None:
    x = samples(n=20)
    knowledge = Knowledge.parse("outlet: ambient > inlet")
    with torch.no_grad():
        one, other = (Regularizer(knowledge, NAMES)(each) for each in (x, x * 2.0**power))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.double, 1e-310), (torch.float32, 1e-38)])
def test_gradients_that_no_number_can_hold_are_refused(dtype: torch.dtype, scale: float) -> None:
    x = samples(scale).to(dtype)
    name = str(dtype).removeprefix("torch.")
    sentence = rf"only about \de-3\d+ apart, too close for gradients in {name}\. Rescale"
    with torch.no_grad():
        assert Regularizer(KNOWN, NAMES)(x).isfinite()
        assert hsic(x[:, 1], x[:, 2]) == pytest.approx(hsic(samples()[:, 1], samples()[:, 2]).item(), rel=1e-4)
    with pytest.raises(ValueError, match="'inlet': .*" + sentence):
        Regularizer(KNOWN, NAMES)(x.requires_grad_())
    with pytest.raises(ValueError, match=sentence):
        hsic(x[:, 1], x[:, 2])
    with pytest.raises(ValueError, match="^'inlet': .*" + sentence):
        Regularizer(KNOWN, NAMES, data=x)


def test_bandwidths_that_the_samples_cannot_hold_are_refused() -> None:
    for scale, sentence in ((1e-100, "too close for gradients in float32"), (1e100, "too far apart for float32")):
        regularizer = Regularizer(KNOWN, NAMES, data=samples(scale))
        with pytest.raises(ValueError, match=f"^'inlet' in 'data': .*{sentence}.* Rescale"):
            regularizer(samples().float())


def test_rows_of_a_few_steps_are_refused() -> None:
    x = samples(5e-324)
    for call in (lambda: hsic(x[:, 1], x[:, 2]), lambda: relative_test(x[:, 1], x[:, 2], x[:, 0])):
        with pytest.raises(ValueError, match=r"float64 keeps only multiples of 5e-324 .* Rescale"):
            call()


# Columns that do not vary.

ALONE = "outlet: ambient > flow"
"""A statement that does not name the constant column."""
FOUR = [*NAMES, "flow"]


def batch(n: int, constant: bool, members: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.cat([samples(n=n), samples(n=n)[:, 1:2].flip(0) + samples(n=n)[:, :1]], 1).to(dtype)
    x = x.index_fill(1, torch.tensor([1]), 0.1) if constant else x
    return torch.stack([x] * members) if members else x


STATEMENTS = ["inlet: ambient > outlet", "outlet: inlet > ambient", "outlet: ambient > inlet"]
GROUPS = ["outlet: {inlet} > {ambient, flow}", "{outlet, flow}: ambient > inlet"]


@pytest.mark.parametrize("members", [0, 2])
@pytest.mark.parametrize("n", [30, 150])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("studentize", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_constant_column_pushes_nothing(
    normalize: bool, studentize: bool, frozen: bool, n: int, members: int
) -> None:
    data = batch(n, constant=False, dtype=torch.double) if frozen else None
    settings = {"data": data, "normalize": normalize, "studentize": studentize}

    def build(texts: list[str]) -> Regularizer:
        regularizer = Regularizer(Knowledge.parse("\n".join(texts)), FOUR, **settings)  # type: ignore[arg-type]
        stacked = regularizer.stack([regularizer] * (members - 1)) if members else regularizer
        assert stacked is not None
        return stacked

    x = batch(n, constant=True, members=members, dtype=torch.double)
    for text in [*STATEMENTS, *GROUPS]:
        x = x.detach().requires_grad_()
        term = build([text]).measure(x)
        assert term.value.isfinite().all() and term.value.shape == x.shape[:-2]
        assert torch.autograd.grad(term.value.sum(), x)[0].count_nonzero() == 0, text
    # Another statement is pushed as ever.
    (together,), (alone,) = (
        torch.autograd.grad(build(texts).measure(x).value.sum(), x) for texts in ([*STATEMENTS, ALONE], [ALONE])
    )
    assert alone.count_nonzero() > 0
    torch.testing.assert_close(together, alone / 4, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 1e-30])
@pytest.mark.parametrize("frozen", [False, True])
def test_samples_that_are_all_equal_push_nothing(value: float, frozen: bool) -> None:
    for n in (30, 150):
        regularizer = Regularizer(KNOWN, NAMES, data=samples().float() if frozen else None)
        x = torch.full((n, 3), value, requires_grad=True)
        loss = regularizer(x)
        loss.backward()
        assert loss == regularizer.margin
        assert x.grad is not None and x.grad.count_nonzero() == 0


def test_rounding_error_is_no_variation() -> None:
    x = samples().float()
    x[:, 1] = 0.1
    x[::2, 1] = torch.nextafter(x[::2, 1], torch.ones(()))
    regularizer = Regularizer(Knowledge.parse("outlet: ambient > inlet"), NAMES)
    assert with_gradient(regularizer, x)[1].count_nonzero() == 0
    x[::2, 1] += 1e-6
    assert with_gradient(regularizer, x)[1].count_nonzero() > 0


def test_one_member_of_a_population_may_be_constant() -> None:
    one = Regularizer(Knowledge.parse("outlet: ambient > inlet"), FOUR)
    stacked = one.stack([one])
    assert stacked is not None
    x = torch.stack([batch(150, constant=True), batch(150, constant=False)]).requires_grad_()
    term = stacked.measure(x)
    (gradient,) = torch.autograd.grad(term.value.sum(), x)
    value, expected = with_gradient(one, batch(150, constant=False))
    assert gradient[0].count_nonzero() == 0
    torch.testing.assert_close(gradient[1], expected, rtol=1e-4, atol=1e-7)
    assert term.value.tolist() == pytest.approx([one.margin, value], rel=1e-5)


def test_standard_errors_of_a_constant_column_push_nothing_until_they_are_new() -> None:
    """Not a statement that is thousands of standard errors off, because the errors were those of nothing."""
    regularizer = Regularizer(Knowledge.parse("outlet: ambient > inlet"), FOUR)
    shared = regularizer.measure(batch(150, constant=True)).standard_error
    assert shared is not None
    varied = batch(150, constant=False).requires_grad_()
    term = regularizer.measure(varied, shared)
    assert term.value == regularizer.margin
    assert torch.autograd.grad(term.value, varied)[0].count_nonzero() == 0


def test_a_dependence_of_a_constant_group_is_nothing() -> None:
    gaps = Regularizer(Knowledge.parse("\n".join(STATEMENTS)), FOUR).gaps(batch(150, constant=True))
    alone = Dependence(batch(150, constant=True)[:, [0, 2]], [], [(0, 1)])
    assert gaps.gap[0] == 0 and gaps.gap[1] == -gaps.gap[2]
    assert gaps.statistic.tolist() == [0, 0, 0] and gaps.pvalue.tolist() == [0.5] * 3
    assert alone.value.isfinite()


SENTENCE = "constant in ten batches of samples in a row, so statements about"


@pytest.mark.parametrize("members", [0, 3])
def test_ten_constant_batches_in_a_row_give_one_warning(members: int) -> None:
    regularizer = Regularizer(Knowledge.parse("\n".join([*STATEMENTS, ALONE])), FOUR)
    penalty = regularizer.stack([regularizer] * 2) if members else regularizer
    assert penalty is not None
    still, varied = batch(30, constant=True, members=members), batch(30, constant=False, members=members)
    if members:
        still[0] = varied[0]
    for x in [still] * 9 + [varied] + [still] * 9:
        penalty.measure(x)
    if members:
        # Those that stay go on counting.
        penalty, still = penalty.keep(torch.tensor([0, 2])), still[1:]
        still[0] = varied[0]
    with pytest.warns(UserWarning, match=rf"^column 'inlet' was {SENTENCE} it have no effect\. .*last layer"):
        penalty.measure(still)
    for _ in range(30):
        penalty.measure(still)


def test_the_warning_names_all_columns() -> None:
    regularizer = Regularizer(KNOWN, NAMES)
    for _ in range(9):
        regularizer(torch.zeros(30, 3))
    with pytest.warns(UserWarning, match=rf"^columns 'ambient', 'inlet', 'outlet' were {SENTENCE} them have"):
        regularizer(torch.zeros(30, 3))
