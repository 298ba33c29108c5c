"""In what two installations differ, and what of it matters."""

from __future__ import annotations

from fedbench.execution.installation import differences, installation, other_instructions


def test_what_differs_is_named():
    assert {"python", "torch", "monai", "numpy", "scipy", "fedbench"} < installation().keys()
    driver = {"python": "3.11", "torch": "2.13.0", "fedbench": "0.1.0"}
    assert differences(driver, dict(driver)) == []
    assert differences(driver, driver | {"torch": "2.12.1"}) == ["torch is 2.12.1, here 2.13.0"]
    assert differences(driver, {"python": "3.11", "torch": "2.13.0"}) == ["fedbench is unknown, here 0.1.0"]


def test_another_processor_is_named_and_no_reason_to_refuse_a_node():
    """What computes bf16 matters to runs at bf16 alone; where it is not known, nothing is said."""
    driver = {"instructions": "AVX512", "bf16_instructions": "avx512_bf16"}
    other, older = driver | {"bf16_instructions": "none"}, {"instructions": "AVX512"}
    assert differences(driver, {"instructions": "AVX2"}) == differences(driver, other) == []
    assert other_instructions(driver, other, bf16=True) == "computes bf16 with none, this machine with avx512_bf16"
    assert (
        other_instructions(driver, {"instructions": "AVX2"}, bf16=False)
        == "computes with AVX2, this machine with AVX512"
    )
    chosen = driver | {"variables": "MKL_CBWR=AVX2"}
    assert differences(driver, chosen) == differences(chosen, driver) == []
    assert other_instructions(driver, chosen, bf16=False) == (
        "computes with MKL_CBWR=AVX2, this machine with no variables that choose how"
    )
    for here, there, bf16 in (
        (driver, other, False),
        (driver, older, True),
        (older, driver, True),
        (driver, driver, True),
    ):
        assert other_instructions(here, there, bf16) == ""
