"""The tests: laws first, examples second."""

from beartype import BeartypeConf, beartype

# What checks annotations under the tests: an int is welcome where a float is, as PEP 484 says.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
