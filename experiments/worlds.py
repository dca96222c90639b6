"""Simulated tables whose truth is known: a toy, a plant with recycle and control, and triples of digits.

Each is drawn once with a fixed seed, as long as any experiment needs; experiments split it as they split real tables.
"""

import os
from functools import cache

import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp
from scipy.stats import norm
from sklearn.datasets import load_digits

from moreso import Knowledge, Relation

ROWS = 1000

# Toy: shares of the variance of `near` and `far` that the reference explains, by its square and by itself.
SQUARE, LINE = 0.8, 0.1


def toy() -> pd.DataFrame:
    """Return three blocks of columns, in each of which `near` follows the square of `ref`, and `far` faintly `ref`.

    The correlation of `near` and `ref` is 0 and that of `far` and `ref` is not, so a Gaussian model takes them the
    wrong way round. Blocks are independent; `toy_density` is the density of a row.
    """
    random = np.random.default_rng(0)
    columns = {}
    for block in "abc":
        ref, near, far = random.normal(size=(3, ROWS))
        columns[f"{block}_ref"] = ref
        columns[f"{block}_near"] = SQUARE**0.5 * (ref**2 - 1) / 2**0.5 + (1 - SQUARE) ** 0.5 * near
        columns[f"{block}_far"] = LINE**0.5 * ref + (1 - LINE) ** 0.5 * far
    return pd.DataFrame(columns)


def toy_density(table: pd.DataFrame) -> np.ndarray:
    """Return the log-density of each row of the toy, which no model can beat on average."""
    found = np.zeros(len(table))
    for block in "abc":
        ref, near, far = (table[f"{block}_{part}"].to_numpy() for part in ("ref", "near", "far"))
        found += norm.logpdf(ref)
        found += norm.logpdf(near, SQUARE**0.5 * (ref**2 - 1) / 2**0.5, (1 - SQUARE) ** 0.5)
        found += norm.logpdf(far, LINE**0.5 * ref, (1 - LINE) ** 0.5)
    return found


SENSORS = [
    *("feed_flow", "feed_conc", "feed_temp", "weather", "coolant_temp", "coolant_flow", "jacket_temp"),
    *("reactor_temp", "reactor_conc", "product_conc", "recycle_conc", "recycle_temp"),
]


@cache
def _plant() -> pd.DataFrame:
    """Return the state of as many plants as there are rows, each after two hours of its own disturbances."""
    random = np.random.default_rng(0)
    minutes, step = 120.0, 5.0

    def disturbances(mean: float, spread: float) -> np.ndarray:
        """Return Ornstein-Uhlenbeck paths with a memory of an hour, a row each 5 minutes."""
        rho, paths = np.exp(-step / 60), random.normal(size=(int(minutes / step) + 2, ROWS))
        for t in range(1, len(paths)):
            paths[t] = rho * paths[t - 1] + (1 - rho**2) ** 0.5 * paths[t]
        return mean + spread * paths

    paths = {
        "feed_flow": disturbances(60, 3),
        "feed_conc": disturbances(1.5, 0.06),
        "feed_temp": disturbances(345, 3),
        "weather": disturbances(288, 6),
        "tower": disturbances(4, 1.5),
        "efficiency": disturbances(0.8, 0.04),
    }

    def at(t: float) -> dict[str, np.ndarray]:
        low, share = int(t / step), t / step % 1
        return {name: (1 - share) * path[low] + share * path[low + 1] for name, path in paths.items()}

    # Units: l, min, mol/l, K. The exothermic reactor of Seborg's textbook, with a jacket, a separator and a recycle.
    volume, jacket, recycled = 100.0, 20.0, 40.0
    heat, exchange, coolant_exchange = 80.0, 0.8, 0.6

    def parts(t: float, y: np.ndarray) -> dict[str, np.ndarray]:
        conc, temp, _, problem, back_temp = y.reshape(5, ROWS)
        now = at(t)
        # Proportional and integral control of the reactor's temperature by the flow of the coolant.
        flow = np.clip(35 + 2 * (temp - 350) + 0.05 * problem, 2, 150)
        back = conc * now["efficiency"] * 1.5  # the separator returns what has not reacted
        total = now["feed_flow"] + recycled
        return now | {
            "coolant_flow": flow,
            "coolant_temp": now["weather"] + now["tower"],
            "recycle_conc": back,
            "product_conc": np.clip((conc * total - back * recycled) / now["feed_flow"], 0, None),
            "inflow": total,
            "inlet_conc": (now["feed_flow"] * now["feed_conc"] + recycled * back) / total,
            "inlet_temp": (now["feed_flow"] * now["feed_temp"] + recycled * back_temp) / total,
        }

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        conc, temp, jacket_temp, _, back_temp = y.reshape(5, ROWS)
        now = parts(t, y)
        rate = np.exp(4000 / 350 - 4000 / temp) * np.clip(conc, 0, None)
        return np.concatenate(
            [
                now["inflow"] / volume * (now["inlet_conc"] - conc) - rate,
                now["inflow"] / volume * (now["inlet_temp"] - temp) + heat * rate - exchange * (temp - jacket_temp),
                now["coolant_flow"] / jacket * (now["coolant_temp"] - jacket_temp)
                + coolant_exchange * (temp - jacket_temp),
                temp - 350,
                0.1 * (temp - 8 - back_temp),
            ]
        )

    start = np.repeat([0.5, 350.0, 310.0, 0.0, 342.0], ROWS)
    y = solve_ivp(slope, (0, minutes), start, method="RK23", rtol=1e-3, atol=1e-3).y[:, -1]
    conc, temp, jacket_temp, _, back_temp = y.reshape(5, ROWS)
    states = {"reactor_conc": conc, "reactor_temp": temp, "jacket_temp": jacket_temp, "recycle_temp": back_temp}
    read = pd.DataFrame(parts(minutes, y) | states)[SENSORS]
    return read + 0.1 * read.std().to_numpy() * random.normal(size=read.shape)


def plant() -> pd.DataFrame:
    """Return twelve sensors of a stirred reactor with a cooling jacket, a separator and a recycle, under control.

    The reaction heats, the coolant's flow is controlled by the reactor's temperature, and what has not reacted comes
    back. Feed and weather wander; a row is one plant after two hours, so rows are independent. Sensors err by a tenth
    of their spread.
    """
    return _plant().copy()


def triples() -> pd.DataFrame:
    """Return rows of three digits, of which the first two are of one kind and the third is any: 3 x 36 pixels.

    The inner 6 x 6 pixels of digits of 8 x 8, from 0 to 17 with a uniform noise of one step, so that they have a
    density. No image is used twice for one place.
    """
    data = load_digits()
    return _triples(data.images[:, 1:7, 1:7], data.target)


def mnist(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return rows of three digits of MNIST as `triples` are, of 28 x 28 pixels each, from 0 to 256.

    Args:
        path: of Keras's mnist.npz, with `x_train` and `y_train`.
    """
    with np.load(path, allow_pickle=False) as data:
        return _triples(data["x_train"], data["y_train"])


def _triples(images: np.ndarray, kinds: np.ndarray) -> pd.DataFrame:
    random, (count, height, width) = np.random.default_rng(0), images.shape
    pairs = []
    for kind in range(10):
        those = np.flatnonzero(kinds == kind)
        pairs += list(zip(random.permutation(those), random.permutation(those), strict=True))
    chosen = np.array(pairs)[random.permutation(len(pairs))[:ROWS]]
    third = random.permutation(count)[:ROWS]
    flat = images.reshape(count, -1)
    pixels = np.hstack([flat[chosen[:, 0]], flat[chosen[:, 1]], flat[third]])
    return pd.DataFrame(
        pixels + random.uniform(size=pixels.shape),
        columns=[
            f"{place}_{row}_{column}"
            for place in ("first", "second", "third")
            for row in range(height)
            for column in range(width)
        ],
    )


def of_a_kind(table: pd.DataFrame) -> Knowledge:
    """Return what is known of triples: the first two are of one kind."""
    first, second, third = (
        [column for column in map(str, table) if column.startswith(place)] for place in ("first_", "second_", "third_")
    )
    reason = "of one kind"
    return Knowledge((Relation(first, second, third, reason=reason), Relation(second, first, third, reason=reason)))
