"""Codebooks that are trained in parts, and what is counted beside them."""

from __future__ import annotations

import copy

import pytest
import torch

from eegfound.base import SpecError
from eegfound.nn.code_use import CodeFrequencies, perplexity
from eegfound.nn.codebook import CosineCodebook, nearest, unit
from eegfound.nn.running_mean import RunningMean


def _vectors(n, seed=7):
    return unit(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)))


def _book(**options):
    torch.manual_seed(0)
    book = CosineCodebook(16, 4, decay=0.9, beta=1.0, **options)
    book.embedding.initted.fill_(1)
    return book


def _collect(book, vectors, seed=0):
    codes = book.assign(vectors)[1]
    book.collect(vectors, codes, torch.Generator().manual_seed(seed))
    return codes


def test_parts_come_to_the_same_as_the_whole():
    whole, parts = _book(), _book()
    vectors = _vectors(60)
    _collect(whole, vectors)
    for part in (vectors[:7], vectors[7:40], vectors[40:]):
        _collect(parts, part)
    assert torch.equal(whole.follow(), parts.follow())
    assert torch.equal(whole.embedding.weight, parts.embedding.weight)
    assert not torch.equal(whole.embedding.weight, _book().embedding.weight)


def test_rows_stay_until_the_step_is_done_and_each_step_counts_once():
    book = _book()
    before = copy.deepcopy(book.state_dict())
    codes = _collect(book, _vectors(30))
    assert all(torch.equal(value, before[key]) for key, value in book.state_dict().items())
    counts = book.follow()
    assert torch.equal(counts, torch.bincount(codes, minlength=16).float())
    after = book.embedding.weight.clone()
    assert torch.equal(after[counts == 0], before["embedding.weight"][counts == 0])
    assert book.follow() is None  # nothing new
    assert torch.equal(book.embedding.weight, after)


def test_dead_rows_take_vectors_of_the_step():
    book, vectors = _book(revive_after=3), _vectors(12)
    counts = []
    for step in range(3):
        _collect(book, vectors, seed=step)
        counts.append(book.follow())
        if step < 2:  # nothing is dead yet
            rows = book.embedding.weight[counts[0] == 0]
            assert torch.equal(rows, _book().embedding.weight[counts[0] == 0])
    changed = (book.embedding.weight != _book().embedding.weight).any(dim=1) & (counts[0] == 0)
    assert changed.sum() == 2  # an eighth of the book at a time, the longest idle first
    for row in book.embedding.weight[changed]:
        assert (vectors == row).all(dim=1).any()
    assert (book.idle[changed] == 0).all()
    used = book.idle[counts[0] > 0]
    assert (used == 0).all()
    # A row that is revived is used: it is the nearest of its vector.
    assert set(changed.nonzero().flatten().tolist()) <= set(
        nearest(vectors, book.embedding.weight).tolist()
    )


def test_revival_is_drawn_and_draws_are_repeated():
    books = [_book(revive_after=1) for _ in range(3)]
    vectors = _vectors(40)
    for book, seed in zip(books, (1, 1, 2), strict=True):
        codes = torch.zeros(40, dtype=torch.int64)  # all but row 0 are dead
        book.collect(vectors, codes, torch.Generator().manual_seed(seed))
        book.follow()
    first, again, other = (book.embedding.weight for book in books)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_revival_takes_the_smallest_draws_of_all_parts():
    # Whatever the order of the parts, the same vectors are chosen.
    books = [_book(revive_after=1) for _ in range(2)]
    parts = [(_vectors(9, seed), seed) for seed in (3, 4, 5)]
    for book, order in zip(books, (parts, parts[::-1]), strict=True):
        for vectors, seed in order:
            codes = torch.zeros(9, dtype=torch.int64)
            book.collect(vectors, codes, torch.Generator().manual_seed(seed))
        book.follow()
    assert torch.equal(books[0].embedding.weight, books[1].embedding.weight)


def test_without_revival_the_state_is_the_published_one():
    assert "idle" not in _book().state_dict()
    assert "idle" in _book(revive_after=5).state_dict()
    with pytest.raises(SpecError, match="revive_after=0"):
        _book(revive_after=0)


def test_perplexity_counts_codes_in_use():
    assert perplexity(torch.tensor([3, 3, 3, 3, 0])).item() == pytest.approx(4)
    assert perplexity(torch.tensor([9, 0])).item() == pytest.approx(1)
    assert perplexity(torch.zeros(4)).item() == 1
    assert 1 < perplexity(torch.tensor([9, 1])).item() < 2


def test_frequencies_are_those_of_training():
    known = CodeFrequencies(4)
    known.collect(torch.tensor([[2, 2], [2, 1]]))
    assert known.counts.sum() == 0  # until the step is done
    known.follow()
    known.follow()
    assert known.counts.tolist() == [0, 1, 3, 0]
    assert known.used == 0.5
    assert known.accuracy(torch.tensor([2, 0, 2, 1])) == 0.5
    chances = torch.tensor([1, 2, 4, 1]) / 8
    codes = torch.tensor([0, 2])
    assert known.loss(codes).item() == pytest.approx(-chances[codes].log().mean().item())
    assert known.restart(0)
    assert known.counts.sum() == 0
    known.counts.fill_(5)
    assert not known.restart(0)  # the same pass, gone on with
    assert known.counts.sum() == 20


def test_a_running_mean_is_the_mean_of_all_steps():
    values = torch.randn(3, 50, 6, generator=torch.Generator().manual_seed(0)) + 4
    running = RunningMean(6)
    for step in values:
        running.collect(step[:20].view(4, 5, 6))
        running.collect(step[20:])
        running.follow()
    running.follow()
    assert torch.allclose(running.mean, values.flatten(0, 1).mean(dim=0), atol=1e-6)
    assert running.n_seen == 150


def _train_parts(parts_by_step, rank=0, world=1):
    """Train all counters on this process's parts; part ``i`` belongs to process ``i % world``."""
    book, known, running = _book(revive_after=2), CodeFrequencies(16), RunningMean(4)
    for step, parts in enumerate(parts_by_step):
        for number, vectors in enumerate(parts):
            if number % world == rank:
                known.collect(_collect(book, vectors, seed=100 * step + number))
                running.collect(vectors)
        for counter in (book, known, running):
            counter.follow()
    return {
        f"{type(counter).__name__}.{key}": value
        for counter in (book, known, running)
        for key, value in counter.state_dict().items()
    }


def _parts():
    # The last step has one part: the other process has nothing to do.
    sizes = [(5, 7), (9, 4), (6, 6), (8,)]
    return [[_vectors(n, 10 * i + j) for j, n in enumerate(row)] for i, row in enumerate(sizes)]


def _train_in_process(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.save(_train_parts(_parts(), rank, 2), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_come_to_the_same_as_one(tmp_path):
    torch.multiprocessing.spawn(_train_in_process, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in range(2))
    alone = _train_parts(_parts())
    before = _book(revive_after=2).embedding.weight
    assert (alone["CosineCodebook.idle"] > 0).any()
    assert not torch.equal(alone["CosineCodebook.embedding.weight"], before)
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key], value, atol=1e-6), key
