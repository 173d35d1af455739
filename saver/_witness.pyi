from collections.abc import Callable
from typing import Any, final

@final
class Witness:
    """Objects that were seen, one after the other, and are held. Usable from any thread.

    Only ever added to: whoever shares it says how many of its objects are meant, the first.
    """

    def __new__(cls, extra: Any, /) -> Witness:
        """Make one of no objects; `extra` is the descriptor of the slot in which pydantic keeps extras."""

    def memory(self, count: int, /) -> int:
        """Give about how many bytes so many of the objects take in memory, with all that they consist of."""

    def unchanged(self, count: int, elements: list[Any], unit: int, /) -> tuple[int, list[Any]]:
        """Compare so many of the objects with what a list is at this moment. Others may be changing both.

        Returns:
            How many elements the list begins with that are these very objects, as they were: `count`, or else a
            multiple of `unit`. And a copy of what follows them in the list.
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
            kept: so many of the objects that were seen before come before them.
            elements: pydantic models, in a list that nobody else has.
            types: of each, exactly.
            packb: ormsgpack's; a function of C, since no Python code may run.
            options: for `packb`.

        Returns:
            The packed [[extra ...], [fields ...]], and a witness of the objects that were kept and of these, maybe this
            very one; None in its place if one of these is not covered.

        Raises:
            AttributeError: an object lacks what pydantic gives it.
            TypeError: an object is of another type, or cannot be packed.
        """

    def pack_one(
        self, kept: int, element: Any, cls: type, packb: Callable[..., bytes], options: int, /
    ) -> tuple[bytes, list[str], Witness | None] | None:
        """See one object without extras, and pack its fields, at one moment. Arguments as of `pack`.

        Returns:
            Its packed fields, their names, and a witness, as `pack` gives it; None: it is of another type, has extras,
            lacks what pydantic gives it, or cannot be packed.
        """
