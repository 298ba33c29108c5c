"""What is known of a data set by its name alone."""

from __future__ import annotations

import pytest

from fedbench.analysis.declared import plugin_of, unit_of


@pytest.mark.parametrize(
    ("name", "plugin"),
    [("nuclei", "nuclei"), ("nnunet-eyes", "nnunet"), ("nnunet", "nnunet"), ("nuclei-mine", None), ("eyes", None)],
)
def test_data_named_after_its_folder_is_of_the_plugin_that_reads_folders(name, plugin):
    """Of another plugin nobody knows, whatever its name begins with."""
    found = plugin_of(name)
    assert (None if found is None else found.name) == plugin


def test_what_a_patient_is():
    assert (unit_of("nuclei"), unit_of("nnunet-eyes"), unit_of("eyes")) == ("field of view", "patient", "patient")
