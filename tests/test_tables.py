"""Tables on disk."""

from pathlib import Path

import pandas as pd
import pytest

from moreso.tables import check_table, read_table, write_table


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "CSV"])
def test_a_table_is_read_back(plant: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plant.{suffix}"
    write_table(plant, path)
    pd.testing.assert_frame_equal(read_table(path), plant)
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for suffix in ("parquet", "feather"):
        path = tmp_path / f"plant.{suffix}"
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=rf"plant.{suffix}: is not a {suffix.upper()} table"):
            read_table(path)


def test_duplicate_columns_and_an_empty_table_are_refused(plant: pd.DataFrame) -> None:
    doubled = pd.concat([plant, plant[["inlet"]]], axis=1)
    with pytest.raises(ValueError, match="column 'inlet' occurs more than once"):
        check_table(doubled)
    with pytest.raises(ValueError, match="the table has no columns"):
        check_table(plant[[]])


def test_only_the_columns_that_are_used_must_be_numbers(plant: pd.DataFrame) -> None:
    mixed = plant.assign(site="north")
    check_table(mixed, ["inlet", "outlet"])
    with pytest.raises(ValueError, match="column 'site' is not numeric"):
        check_table(mixed)


def test_new_files_have_ordinary_permissions(plant: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_table(plant, tmp_path / "plant.csv")
    assert (tmp_path / "plant.csv").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
