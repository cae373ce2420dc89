"""Electrode names of the models with tables of electrodes, in the tables' order.

Names and order are facts of the published checkpoints; where each was read is
said above it.
"""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: BENDR's 19 electrodes: ``BENDR_CHANNEL_ORDER`` of braindecode without its last
#: entry, SCALE, which is no electrode.
BENDR = _names("FP1 FP2 F7 F3 FZ F4 F8 T7 C3 CZ C4 T8 T5 P3 PZ P4 T6 O1 O2 ")

#: BIOT's 18 derivations: ``BIOT_CHANNEL_ORDER`` of braindecode. The checkpoint with
#: 16 channels has the first 16.
BIOT = _names(
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 "
    "F4-C4 C4-P4 P4-O2 C3-A2 C4-A1 "
)

#: EEG-DINO's 19 slots. braindecode says that channel ``i`` has slot ``i``, its model card
#: says "19 common 10-20 channels" of TUEG; neither prints the order. This is the usual
#: order of TUH recordings; ``slot_order`` in ``model_params`` sets another.
EEGDINO = _names("FP1 FP2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T3 T4 T5 T6 FZ CZ PZ ")

#: ``EEGPT_CHANNELS`` of braindecode.
EEGPT = _names(
    "FP1 FPZ FP2 AF7 AF3 AF4 AF8 F7 F5 F3 F1 FZ F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 "
    "FT8 T7 C5 C3 C1 CZ C2 C4 C6 T8 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 P7 P5 P3 P1 PZ P2 "
    "P4 P6 P8 PO7 PO5 PO3 POZ PO4 PO6 PO8 O1 OZ O2 "
)

#: ``LABRAM_CHANNEL_ORDER`` of braindecode.
LABRAM = _names(
    "FP1 FPZ FP2 AF9 AF7 AF5 AF3 AF1 AFZ AF2 AF4 AF6 AF8 AF10 F9 F7 F5 F3 F1 FZ F2 F4 F6 F8 "
    "F10 FT9 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 FT10 T9 T7 C5 C3 C1 CZ C2 C4 C6 T8 T10 TP9 "
    "TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 TP10 P9 P7 P5 P3 P1 PZ P2 P4 P6 P8 P10 PO9 PO7 PO5 "
    "PO3 PO1 POZ PO2 PO4 PO6 PO8 PO10 O1 OZ O2 O9 CB1 CB2 IZ O10 T3 T5 T4 T6 M1 M2 A1 A2 "
    "CFC1 CFC2 CFC3 CFC4 CFC5 CFC6 CFC7 CFC8 CCP1 CCP2 CCP3 CCP4 CCP5 CCP6 CCP7 CCP8 T1 T2 "
    "FTT9h TTP7h TPP9h FTT10h TPP8h TPP10h FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 "
    "P8-O2 "
)

#: The 62 electrodes of Lee2019 that S-JEPA was pretrained on, in the order of the
#: checkpoint's table (that of the constructor without ``chs_info``).
SIGNALJEPA = _names(
    "Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 "
    "Pz P4 P8 PO9 O1 Oz O2 PO10 FC3 FC4 C5 C1 C2 C6 CP3 CPz CP4 P1 P2 POz FT9 FTT9h TTP7h "
    "TP7 TPP9h FT10 FTT10h TPP8h TP8 TPP10h F9 F10 AF7 AF3 AF4 AF8 PO3 PO4 "
)

#: The named slots of ST-EEGFormer small, base and large: the authors' channel list
#: (repository LiuyinYang1101/STEEGFormer, MIT), as braindecode distributes it in
#: ``steegformer_channels.json``. It has 142 names for 145 slots.
STEEGFORMER = _names(
    "C1 Pz C4 F6 FTT8h Oz Fp1 FCC5h TPP8h CPP6h C2 F4 OI2h AF4 FCz CCP6h TP8 POO10h FC1 FC6 "
    "C5 P8 FT8 P6 P9 Fz AFF1 TPP10h AFF2 P10 CPP2h M1 FCC6h FTT7h FC2 PPO2 AFp3h AF7 PO10 "
    "AF8 CPP1h P7 F1 AFp4h PO9 FT9 CP2 Iz FCC1h FC5 T5 CP5 CP6 FFC5h F2 M2 POO9h AFF5h PO4 "
    "POO3h Fp2 T3 CP4 POz TTP7h T7 A2 CCP4h T8 PPO10h FC3 F3 F5 A1 P3 FC4 FCC2h FFC6h FFT8h "
    "CCP2h CPP4h T6 FTT9h PPO6h CP3 CP1 AF3 FT10 OI1h TPP9h P5 I2 CCP1h T4 CCP3h O1 PO5 "
    "PPO9h PPO5h P1 AFz PO6 PO3 O2 CPP5h FFC1h FCC4h FFT7h FFC2h FFC4h Cz TP7 Fpz FTT10h "
    "PO7 CPP3h P4 P2 F8 CPz FCC3h FFC3h FT7 I1 TTP8h AFF6h CCP5h C6 PPO1 PO8 C3 POO4h TPP7h "
    "F7 T9 TP9 T10 TP10 POO1 POO2 PPO1h PPO2h "
)
