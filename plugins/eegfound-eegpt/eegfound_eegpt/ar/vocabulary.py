"""Electrode names of autoregressive EEGPT and the sizes its tokens have.

The paper speaks of 138 electrodes and does not list them; names and order here
are ours (10-10 rows from front to back, ears and cerebellar places, then the
part of the 10-05 system that high-density caps use).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from eegfound.base import SpecError

#: Samples of a token (one second at 256 Hz), hop between tokens, and samples of
#: a pretraining window: 25 tokens.
TOKEN, HOP, WINDOW = 256, 32, 1024

_FRONT_TO_BACK = """
    FP1 FPZ FP2
    AF9 AF7 AF5 AF3 AF1 AFZ AF2 AF4 AF6 AF8 AF10
    F9 F7 F5 F3 F1 FZ F2 F4 F6 F8 F10
    FT9 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 FT10
    T9 T7 C5 C3 C1 CZ C2 C4 C6 T8 T10
    TP9 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 TP10
    P9 P7 P5 P3 P1 PZ P2 P4 P6 P8 P10
    PO9 PO7 PO5 PO3 PO1 POZ PO2 PO4 PO6 PO8 PO10
    O9 O1 OZ O2 O10 I1 IZ I2
    CB1 CB2 A1 A2 M1 M2 T1 T2
    AFP1 AFP2
    AFF5H AFF1H AFF2H AFF6H
    FFT7H FFC5H FFC3H FFC1H FFC2H FFC4H FFC6H FFT8H
    FTT7H FCC5H FCC3H FCC1H FCC2H FCC4H FCC6H FTT8H
    TTP7H CCP5H CCP3H CCP1H CCP2H CCP4H CCP6H TTP8H
    TPP7H CPP5H CPP3H CPP1H CPP2H CPP4H CPP6H TPP8H
    PPO5H PPO1H PPO2H PPO6H
"""

#: The electrodes, in the order of the embedding tables.
VOCABULARY: tuple[str, ...] = tuple(_FRONT_TO_BACK.split())

#: Older names of 10-10 electrodes that have no row of their own.
_OLDER = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
_ROW = {name: row for row, name in enumerate(VOCABULARY)}


def electrode_name(channel: str) -> str:
    """Return the electrode that a channel is taken for.

    Blanks and a leading ``EEG`` go, letters become capitals, older 10-20
    names become 10-10 names, and of a derivation (``Fpz-Cz``, ``C4-M1``,
    ``FP1-REF``) the electrode before the hyphen is taken.

    Parameters
    ----------
    channel : str
        Name as a file has it.

    Returns
    -------
    str
        A name in the spelling of :data:`VOCABULARY`, in it or not.

    Examples
    --------
    >>> from eegfound_eegpt.ar.vocabulary import electrode_name
    >>> electrode_name("EEG Fpz-Cz"), electrode_name("t5")
    ('FPZ', 'P7')
    """
    text = re.sub(r"\s+", " ", channel).strip().upper().removeprefix("EEG ")
    first = text.split("-")[0].replace(" ", "")
    return _OLDER.get(first, first)


def electrode_rows(channels: Iterable[str]) -> list[int]:
    """Return the 0-based vocabulary row of each channel.

    Parameters
    ----------
    channels : iterable of str
        Names as files have them; see :func:`electrode_name`.

    Returns
    -------
    list of int
        Rows, in the order of the channels.

    Raises
    ------
    SpecError
        If a channel is no electrode of the vocabulary, or two are the same.
    """
    channels = list(channels)
    names = [electrode_name(channel) for channel in channels]
    unknown = [raw for raw, name in zip(channels, names) if name not in _ROW]
    if unknown:
        raise SpecError(
            f"eegpt-ar does not know the channel(s) {unknown}: leave them out, or map the montage "
            "first with MontageMapper(info=info, target='eegpt-ar')."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"Several channels are the electrode(s) {twice}: keep one of each.")
    return [_ROW[name] for name in names]
