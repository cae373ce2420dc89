"""NeuroLM's tables: electrode names by index, sizes of vocabularies, ids of bytes."""

from __future__ import annotations

#: Samples of a patch (one second at 200 Hz).
PATCH = 200
#: Rows of the table of seconds, and tokens of one sequence.
MAX_SECONDS, MAX_TOKENS = 64, 1024
#: Rows of the tables of channels and of text positions.
CHANNEL_ROWS, POSITION_ROWS = 256, 1024
#: Rows of the text vocabulary; the codes of EEG follow after it.
TEXT_ROWS = 50304
#: Id of the token that stands between EEG and text.
SEP = 50257

_ROWS = (
    "FP1 FPZ FP2",
    "AF9 AF7 AF5 AF3 AF1 AFZ AF2 AF4 AF6 AF8 AF10",
    "F9 F7 F5 F3 F1 FZ F2 F4 F6 F8 F10",
    "FT9 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 FT10",
    "T9 T7 C5 C3 C1 CZ C2 C4 C6 T8 T10",
    "TP9 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 TP10",
    "P9 P7 P5 P3 P1 PZ P2 P4 P6 P8 P10",
    "PO9 PO7 PO5 PO3 PO1 POZ PO2 PO4 PO6 PO8 PO10",
    "O1 OZ O2 O9 CB1 CB2 IZ O10",
    "T3 T5 T4 T6 M1 M2 A1 A2",
    "CFC1 CFC2 CFC3 CFC4 CFC5 CFC6 CFC7 CFC8",
    "CCP1 CCP2 CCP3 CCP4 CCP5 CCP6 CCP7 CCP8",
    "T1 T2 FTT9h TTP7h TPP9h FTT10h TPP8h TPP10h",
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2",
    "FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2",
    "pad I1 I2",
)

#: The authors' list: a channel's index is its row in the embedding tables.
CHANNELS: tuple[str, ...] = tuple(name for row in _ROWS for name in row.split())
#: Index of padding, which is no electrode.
PAD = CHANNELS.index("pad")
#: Names an electrode can have; those after :data:`PAD` stand one row earlier here.
VOCABULARY: tuple[str, ...] = tuple(name for name in CHANNELS if name != "pad")


def _byte_order() -> list[int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [byte for byte in range(256) if byte not in printable]


#: The first 256 ids of GPT-2 are single bytes, the printable ones of Latin-1 first.
_ID_OF_BYTE = {byte: index for index, byte in enumerate(_byte_order())}


def byte_ids(text: str) -> tuple[int, ...]:
    """Return the GPT-2 ids of the bytes of a text, one by one.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    tuple of int
        Ids below 256. For a single ASCII character that is its token; longer
        texts are spelled out here, while GPT-2's own tokenizer merges common
        pairs. So use this for option letters, and the ids of a real tokenizer
        for prompts.

    Examples
    --------
    >>> from eegfound_neurolm import byte_ids
    >>> byte_ids("A"), byte_ids("B")
    ((32,), (33,))
    """
    return tuple(_ID_OF_BYTE[byte] for byte in text.encode("utf-8"))
