"""``show algorithm`` and ``show dataset``: what a plugin declares, as a user reads it."""

from __future__ import annotations


def test_a_parameter_is_shown_with_what_it_may_be(fedbench):
    shown = " ".join(fedbench("show", "algorithm", "fedda-cyclic[lam=0.05]")[1].split())
    assert "[exchange] default 'weights'; 'weights' or 'features'." in shown
    assert "[lam] default 0.01; at least 0; search" in shown


def test_lists_and_formulas_keep_their_lines(fedbench):
    assert "\n- case,patient: the channels are the modalities" in fedbench("show", "dataset", "nnunet")[1]
    assert (
        "\n    D step:      1/2 [BCE(D(sg(f)), 1) + BCE(D(t), 0)]\n" in fedbench("show", "algorithm", "fedda-joint")[1]
    )
