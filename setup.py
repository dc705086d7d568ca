"""What pyproject.toml has no words for: the packages that are found, and configs/, which lies elsewhere in a wheel."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["golang*", "launch*"]), "launch.configs"])
