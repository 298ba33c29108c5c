"""What the answers rest on: conditions with images of patients, and how FedDA compares in them, taken up once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fedbench.analysis.paper.answers.cross import studied_in, the_reference
from fedbench.analysis.paper.phantoms import beside, of_patients
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.verdicts import Comparison

Found = list[tuple[Part, Comparison]]


@dataclass(frozen=True)
class Ground:
    """The conditions of a study, models as they were trained.

    Attributes:
        parts: those that answers rest on: with images of patients, or all where there are only phantoms.
        phantoms: the others, told beside.
    """

    parts: list[Part]
    phantoms: list[Part]

    @classmethod
    def of(cls, study: Study) -> Ground:
        """Take up a study."""
        return cls(of_patients(study.parts, dataset_of), beside(study.parts, dataset_of))

    @property
    def whole(self) -> list[Part]:
        """Nothing left out of training."""
        return [part for part in self.parts if not part.condition.unseen]

    @property
    def crossed(self) -> list[Part]:
        """Nothing left out, and scores on modalities that a client does not hold."""
        return [part for part in self.whole if "cross" in part.relations]

    @property
    def held_out(self) -> list[Part]:
        """A modality left out of training, and tested."""
        return [part for part in self.parts if "unseen" in part.relations]

    @property
    def everything(self) -> str:
        """`` with every modality in training``, to be said of :attr:`whole` where there are others; else empty."""
        return " with every modality in training" if len(self.whole) < len(self.parts) else ""

    @cached_property
    def beside(self) -> Found:
        """FedDA's variants with the reference on others' modalities, where another was left out of training."""
        left_out = [part for part in self.parts if part.condition.unseen and "cross" in part.relations]
        return studied_in(left_out, "cross", the_reference)

    @cached_property
    def compared(self) -> Found:
        """FedDA's variants with every other aggregation algorithm, on modalities that a client does not hold."""
        return studied_in(self.crossed, "cross")

    @cached_property
    def to_reference(self) -> Found:
        """Those with the reference, whatever it is."""
        return studied_in(self.crossed, "cross", the_reference)


def dataset_of(part: Part) -> str:
    """Return the name of the dataset that a part is of."""
    return part.condition.dataset
