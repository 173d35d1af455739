from collections.abc import Callable
from typing import Any, final

@final
class Witness:
    """Objects that were seen, one after the other, and that are held. Never changed; what it makes of itself shares."""

    def __new__(cls, extra: Any, /) -> Witness:
        """Make one of no objects; `extra` is the descriptor of the slot in which pydantic keeps extras."""

    def __len__(self) -> int:
        """Give how many there are."""

    @property
    def memory(self) -> int:
        """About how many bytes they take in memory."""

    def unchanged(self, elements: list[Any], unit: int, /) -> tuple[int, list[Any]]:
        """Compare with what a list is at this moment, which others may be changing.

        Returns:
            How many elements it begins with that are these very objects, as they were: all of these objects, or a
            multiple of `unit`. And a copy of the list without those.
        """

    def pack(
        self,
        kept: int,
        elements: list[Any],
        types: tuple[type, ...],
        packb: Callable[..., bytes],
        options: int,
        /,
    ) -> tuple[bytes, Witness | None]:
        """See objects, and pack their states, at one moment.

        Args:
            kept: so many of these objects, the first, stay.
            elements: what follows them: pydantic models, in a list that nobody else has.
            types: of each, exactly.
            packb: ormsgpack's; of C, since no Python code may run.
            options: for `packb`.

        Returns:
            The packed [[extra ...], [fields ...]], and a witness of the objects that stay and of these; None in its
            place: one is not covered.

        Raises:
            AttributeError: an object lacks what pydantic gives it.
            TypeError: an object is of another type, or cannot be packed.
        """
