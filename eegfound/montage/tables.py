"""Names of electrodes, references and other signals, as data.

The 10-05 names are generated from the system's own grammar (rows from front
to back, columns from left to right), the rest are tables with their sources.
"""

from __future__ import annotations

_LEFT = ("9", "9h", "7", "7h", "5", "5h", "3", "3h", "1", "1h")
_RIGHT = ("2h", "2", "4h", "4", "6h", "6", "8h", "8", "10h", "10")
COLUMNS = (*_LEFT, "z", *_RIGHT)
#: Rows from front to back: name at the midline, name beyond column 6, and the
#: largest column where the row is short.
_ROWS = (
    ("Fp", "Fp", 2),
    ("AFp", "AFp", 10),
    ("AF", "AF", 10),
    ("AFF", "AFF", 10),
    ("F", "F", 10),
    ("FFC", "FFT", 10),
    ("FC", "FT", 10),
    ("FCC", "FTT", 10),
    ("C", "T", 10),
    ("CCP", "TTP", 10),
    ("CP", "TP", 10),
    ("CPP", "TPP", 10),
    ("P", "P", 10),
    ("PPO", "PPO", 10),
    ("PO", "PO", 10),
    ("POO", "POO", 10),
    ("O", "O", 2),
    ("OI", "OI", 2),
    ("I", "I", 2),
)


def _grammar() -> tuple[str, ...]:
    names = ["Nz"]
    for medial, lateral, last in _ROWS:
        for column in COLUMNS:
            number = int(column.rstrip("hz") or 0)
            if number <= last:
                names.append((lateral if number > 6 else medial) + column)
    return tuple(names)


#: Electrodes of the 10-05 system, front to back and left to right.
TEN_FIVE = _grammar()

#: Ears and mastoids. They are recorded as electrodes, and used as references.
EAR_NAMES = ("A1", "A2", "M1", "M2")

#: Electrodes outside the 10-05 system with a name of their own: anterior
#: temporal T1/T2 (Silverman) and the cerebellar CB1/CB2 of Neuroscan caps.
EXTRA_NAMES = ("T1", "T2", "CB1", "CB2")

#: Older names of 10-05 electrodes. The 1958 10-20 names of temporal
#: electrodes were replaced in 1991 (T3, T4, T5, T6 are T7, T8, P7, P8); O9 and
#: O10 are I1 and I2; CFC is an older word for the row FCC/FTT.
LEGACY = {
    "T3": "T7",
    "T4": "T8",
    "T5": "P7",
    "T6": "P8",
    "O9": "I1",
    "O10": "I2",
    **{f"CFC{i}": f"FCC{i}" for i in range(1, 7)},
    "CFC7": "FTT7",
    "CFC8": "FTT8",
    "CCP7": "TTP7",
    "CCP8": "TTP8",
}

#: Ear lobe and mastoid of one side stand in for each other where a vocabulary
#: knows only one of them.
EAR_SUBSTITUTE = {"A1": "M1", "A2": "M2", "M1": "A1", "M2": "A2"}

#: 10-10 equivalents of the 128-channel HydroCel Geodesic Sensor Net.
#: First the electrodes of the 10-20 system, as published by Luu & Ferree,
#: "Determination of the HydroCel Geodesic Sensor Nets' average electrode
#: positions and their 10-10 international equivalents" (EGI, 2005); then
#: further 10-10 places, listed only where the 10-10 electrode nearest to the
#: net's template position is the one named and lies within 12 degrees.
EGI_128 = {
    22: "Fp1", 9: "Fp2", 33: "F7", 24: "F3", 11: "Fz", 124: "F4", 122: "F8",
    45: "T7", 36: "C3", 104: "C4", 108: "T8",
    58: "P7", 52: "P3", 62: "Pz", 92: "P4", 96: "P8", 70: "O1", 75: "Oz", 83: "O2",
    15: "Fpz", 26: "AF7", 23: "AF3", 16: "AFz", 3: "AF4", 2: "AF8",
    32: "F9", 27: "F5", 19: "F1", 4: "F2", 123: "F6", 1: "F10",
    38: "FT9", 29: "FC3", 13: "FC1", 6: "FCz", 112: "FC2", 111: "FC4", 121: "FT10",
    44: "T9", 30: "C1", 105: "C2", 114: "T10",
    47: "CP5", 42: "CP3", 37: "CP1", 55: "CPz", 87: "CP2", 93: "CP4", 98: "CP6",
    51: "P5", 97: "P6", 65: "PO7", 72: "POz", 90: "PO8",
}  # fmt: skip

#: HydroCel nets by their number of electrodes, and the label of the vertex
#: reference in each (65, 129 and 257 are Cz).
EGI_NETS = {
    32: "GSN-HydroCel-32",
    65: "GSN-HydroCel-65_1.0",
    129: "GSN-HydroCel-129",
    257: "GSN-HydroCel-257",
}


def words(text: str) -> tuple[str, ...]:
    """Read names that stand in one string, separated by blanks."""
    return tuple(text.split())


#: What stands after the separator of a referential name.
REFERENCE_WORDS = frozenset(
    words("""REF REFERENCE VREF CREF OREF LE LER CLE LM LINKED LINKEDEARS LINKEDMASTOIDS AR CAR AV
    AVG AVE AVERAGE AVGREF G1 G2 GND GROUND NOSE A A1 A2 M M1 M2 A12 A1A2 A1A22 M12 M1M2 M1M22 AA
    EAR EARS CSD REST TERMINAL""")
)

#: Words for signals that are not EEG (compared without trailing digits).
NON_EEG_WORDS = frozenset(
    words("""STATUS TRIG TRIGGER TRIGGERS STI STIM STIMULUS MARKER MARKERS EVENT EVENTS ANNOTATION
    ANNOTATIONS AUX MISC BIP BIPOLAR PHOTIC PHOTO PHOT IBI BURSTS SUPPR RESP RESPIRATION AIRFLOW
    FLOW THOR THORAX ABD ABDO ABDOMEN CHEST SNORE PULSE PLETH PPG BVP SAO SPO OSAT HR BEAT GSR EDA
    SCR TEMP TEMPERATURE ACC ACCX ACCY ACCZ ACCEL GYRO GYROX GYROY GYROZ MAG DC LOC ROC CHIN LEG
    TIB TIMESTAMP TIMESTAMPS TIME COUNTER SAMPLE INTERPOLATED BATTERY BATT ERGO PUPIL EYE LIGHT
    SOUND AUDIO POSITION PHASE CO LABEL CLASS BLINK""")
)

_TEN_TEN_ROWS = {"Fp", "AF", "F", "FT", "FC", "T", "C", "TP", "CP", "P", "PO", "O", "I"}

#: Layouts that come with the suite.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "1020-19": words("Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2"),
    "1020-21": words("Fp1 Fpz Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 Oz O2"),
    "1010-64": words("""Fp1 AF7 AF3 F1 F3 F5 F7 FT7 FC5 FC3 FC1 C1 C3 C5 T7 TP7 CP5 CP3 CP1 P1 P3
    P5 P7 P9 PO7 PO3 O1 Iz Oz POz Pz CPz Fpz Fp2 AF8 AF4 AFz Fz F2 F4 F6 F8 FT8 FC6 FC4 FC2 FCz
    Cz C2 C4 C6 T8 TP8 CP6 CP4 CP2 P2 P4 P6 P8 P10 PO8 PO4 O2"""),
    "1010": tuple(n for n in TEN_FIVE if n.rstrip("z0123456789") in _TEN_TEN_ROWS),
    "standard_1005": TEN_FIVE,
    "double-banana": words("""Fp1-F7 F7-T7 T7-P7 P7-O1 Fp2-F8 F8-T8 T8-P8 P8-O2 Fp1-F3 F3-C3
    C3-P3 P3-O1 Fp2-F4 F4-C4 C4-P4 P4-O2 Fz-Cz Cz-Pz"""),
    "muse-4": words("TP9 AF7 AF8 TP10"),
    "epoc-14": words("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4"),
    "egi-128": tuple(f"E{number}" for number in range(1, 129)),
}
