"""Facts about the datasets: what they are, whose they are, on what terms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetCard:
    """What a person must know before using a dataset.

    Parameters
    ----------
    name : str
        Name for :func:`eegfound.datasets.load_dataset`.
    title : str
        What it is called in public.
    task : str
        What the labels mean.
    loader : str
        Import path of ``load(...) -> (X, y, groups, info)``.
    licence : str
        Terms of the data.
    citation : tuple of str
        What its users must cite.
    url : str
        Page of the publisher.
    folders : tuple of str
        Names of the folder under ``EEGFOUND_DATA`` that holds a local copy.
    layout : str
        Files of the publisher's layout, for messages.
    how_to_get : str
        How a person obtains the files.
    aliases : tuple of str
        Other names of the data in the pretraining records of models.
    note : str
        Attribution or warning shown in reports.
    """

    name: str
    title: str
    task: str
    loader: str
    licence: str
    citation: tuple[str, ...]
    url: str
    folders: tuple[str, ...] = ()
    layout: str = ""
    how_to_get: str = ""
    aliases: tuple[str, ...] = ()
    note: str = ""


_GOLDBERGER = (
    "Goldberger A, Amaral L, Glass L, et al. (2000). PhysioBank, PhysioToolkit, and PhysioNet. "
    "Circulation 101(23):e215-e220. doi:10.1161/01.CIR.101.23.e215"
)
_ZYMA = (
    "Zyma I, Tukaev S, Seleznov I, et al. (2019). Electroencephalograms during mental arithmetic "
    "task performance. Data 4(1):14. doi:10.3390/data4010014"
)
_SCHALK = (
    "Schalk G, McFarland DJ, Hinterberger T, Birbaumer N, Wolpaw JR (2004). BCI2000: a "
    "general-purpose brain-computer interface (BCI) system. IEEE Trans Biomed Eng "
    "51(6):1034-1043. doi:10.1109/TBME.2004.827072"
)
_EEGMAT_URL = "https://physionet.org/content/eegmat/1.0.0/"

CARDS: dict[str, DatasetCard] = {
    card.name: card
    for card in (
        DatasetCard(
            name="sample",
            title="EEGMAT sample (bundled)",
            task="rest or mental arithmetic",
            loader="eegfound.datasets.sample:load_sample",
            licence="ODC-BY 1.0",
            citation=(_ZYMA, _GOLDBERGER),
            url=_EEGMAT_URL,
            aliases=("EEGMAT", "MentalArithmetic", "Mental Arithmetic"),
            note="Contains information from the EEG During Mental Arithmetic Tasks database of "
            "PhysioNet, made available under the ODC Attribution License.",
        ),
        DatasetCard(
            name="eegmat",
            title="EEG During Mental Arithmetic Tasks 1.0.0 (PhysioNet)",
            task="rest or mental arithmetic",
            loader="eegfound.datasets.eegmat:load_eegmat",
            licence="ODC-BY 1.0",
            citation=(_ZYMA, _GOLDBERGER),
            url=_EEGMAT_URL,
            folders=("eegmat",),
            layout="Subject00_1.edf, Subject00_2.edf, Subject01_1.edf, …",
            how_to_get="download=True fetches it from PhysioNet; by hand: wget -r -N -c -np "
            "https://physionet.org/files/eegmat/1.0.0/",
            aliases=("MentalArithmetic", "Mental Arithmetic"),
            note="Made available under the ODC Attribution License.",
        ),
        DatasetCard(
            name="eegmmidb",
            title="EEG Motor Movement/Imagery Dataset 1.0.0 (PhysioNet)",
            task="imagined or executed movements of fists and feet; eyes open or closed",
            loader="eegfound.datasets.eegmmidb:load_eegmmidb",
            licence="ODC-BY 1.0",
            citation=(_SCHALK, _GOLDBERGER),
            url="https://physionet.org/content/eegmmidb/1.0.0/",
            folders=("eegmmidb", "MNE-eegbci-data"),
            layout="S001/S001R01.edf, S001/S001R02.edf, …",
            how_to_get="download=True fetches it through mne.datasets.eegbci; by hand: wget -r -N "
            "-c -np https://physionet.org/files/eegmmidb/1.0.0/",
            aliases=(
                "EEGBCI", "PhysioNet MI", "PhysionetMI", "PhysioMI", "PhysioNet-MI", "PhysioP300MI",
                "EEG Motor Movement/Imagery", "EEG Motor Movement/Imagery Dataset",
            ),
            note="Made available under the ODC Attribution License.",
        ),
        DatasetCard(
            name="adhd",
            title="EEG data for ADHD / control children (Nasrabadi 2020, IEEE DataPort)",
            task="diagnosis of the child during a visual attention task",
            loader="eegfound.datasets.adhd:load_adhd",
            licence="CC BY 4.0",
            citation=(
                "Nasrabadi AM, Allahverdy A, Samavati M, Mohammadi MR (2020). EEG data for "
                "ADHD / control children. IEEE DataPort. doi:10.21227/rzfh-zn36",
            ),
            url="https://ieee-dataport.org/open-access/eeg-data-adhd-control-children",
            folders=("adhd", "adhd_children"),
            layout="ADHD_part1/v10p.mat, ADHD_part2/…, Control_part1/…, Control_part2/…",
            how_to_get="download the four archives from the publisher's page (free account) and "
            "unpack each into a folder of its own name",
            aliases=("ADHD", "ADHD children"),
            note="Values are raw converter units, not microvolts (see load_adhd).",
        ),
        DatasetCard(
            name="muse",
            title="EEG notebooks 0.1, Muse headband recordings (NeuroTechX)",
            task="N170, P300, left/right images, or SSVEP",
            loader="eegfound.datasets.muse:load_muse",
            licence="BSD-3-Clause (repository)",
            citation=(
                "Barachant A, Morrison D, Banville H, et al. (2019). muse-lsl. Zenodo. "
                "doi:10.5281/zenodo.3228861",
            ),
            url="https://github.com/NeuroTechX/eeg-notebooks",
            folders=("muse", "eeg-notebooks"),
            layout="visual/N170/subject1/session1/data_2017-09-13-15.30.01.csv, …",
            how_to_get="git clone --branch v0.1 https://github.com/NeuroTechX/eeg-notebooks and "
            "point path= to its data folder",
            note="Four electrodes; meant for comparisons within subjects.",
        ),
    )
}  # fmt: skip
