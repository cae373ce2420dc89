"""Reading a store that is ten times what the process may take."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from eegfound import ChannelInfo
from eegfound.corpus import Corpus
from eegfound.corpus.journal import Journal
from eegfound.corpus.shards import write_shard
from eegfound.testing.toy import ELECTRODES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
#: Bytes that a process may take beyond what it has before it reads, and the store.
ALLOWED, STORE = 5 * 2**20, 50 * 2**20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Ten recordings of noise, written as a preparation would."""
    out = tmp_path_factory.mktemp("big") / "store"
    out.mkdir()
    journal = Journal(out)
    info = ChannelInfo(ELECTRODES, 200.0)
    n_times = STORE // 10 // 4 // len(ELECTRODES)
    rng = np.random.default_rng(0)
    for number in range(10):
        data = 1e-5 * rng.standard_normal((len(ELECTRODES), n_times), dtype=np.float32)
        shard = f"shards/noise/{number}.arrow"
        size, content = write_shard(out / shard, data, info, out)
        seconds = n_times / 200
        journal.add(
            {
                "key": str(number), "kind": "recording", "dataset": "noise", "shard": shard,
                "subject": str(number), "recording": f"noise/{number}", "bytes": size,
                "content": content, "sfreq": 200.0, "original_sfreq": 200.0, "seconds": seconds,
                "n_times": n_times, "ch_names": list(ELECTRODES), "usable_seconds": seconds,
                "rejected": [], "left_out": [], "file": str(number), "citation": [],
                "licence": "", "notes": [], "settings": "", "sha256": "", "unit": "V",
            }
        )  # fmt: skip
    journal.write_index()
    return out


SCRIPT = """
    import json, re, resource, sys
    import numpy as np
    from eegfound.corpus import Corpus
    from eegfound.models import InputSpec
    from eegfound.testing.toy import ELECTRODES, toy_model

    def kilobytes(name):
        with open("/proc/self/status") as file:
            return int(re.search(name + r":\\s+(\\d+)", file.read())[1])

    spec = InputSpec(sfreq=200.0, patch_samples=200, scale=0.01, vocabulary=ELECTRODES)
    source = Corpus(sys.argv[1]).source(toy_model(input=spec), window_seconds=4)
    order = np.random.default_rng(0).permutation(len(source))
    source.jobs(order[:16])
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins here
    before = kilobytes("VmRSS")
    # The kernel refuses what is beyond: heap and anonymous memory, as malloc takes it.
    heap = 1024 * kilobytes("VmData") + int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (heap, heap))
    total, peak = 0, 0
    for first in range(0, len(order), 16):
        for job in source.jobs(order[first : first + 16]):
            total += job.signal.nbytes
            peak = max(peak, float(np.abs(job.signal).max()))
    print(json.dumps({"grown": 1024 * (kilobytes("VmHWM") - before), "read": total,
                      "peak": peak, "windows": len(order)}))
"""


def test_memory_stays_flat_over_a_store_ten_times_larger(store):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(store), str(ALLOWED)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["read"] > 0.99 * STORE
    assert told["grown"] < ALLOWED, told
    assert told["peak"] > 0


def test_pages_are_given_back(store):
    """Nothing of the files stays in this process's memory once a window is copied."""
    from eegfound.corpus.shards import OpenShards

    def resident():
        found, kilobytes = False, 0
        with open("/proc/self/smaps") as file:
            for line in file:
                if line[0] in "0123456789abcdef":
                    found = line.rstrip().endswith(".arrow")
                elif found and line.startswith("Rss:"):
                    kilobytes += int(line.split()[1])
        return kilobytes

    shards = OpenShards(store)
    windows = [shards.get(name).read(0, 20_000) for name in Corpus(store).index["shard"]]
    assert resident() < 200
    map_ = np.memmap(store / "shards/noise/3.arrow", mode="r")
    assert map_[::1000].sum() > 0
    assert resident() > 1000  # what it looks like where nobody gives them back
    del map_
    np.testing.assert_array_equal(
        shards.get("shards/noise/3.arrow").read(100, 300), windows[3][:, 100:300]
    )
