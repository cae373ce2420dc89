"""The text that follows the EEG: a question, and the answers to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eegfound.base import SpecError
from eegfound_neurolm.vocabulary import MAX_SECONDS, POSITION_ROWS, SEP, TEXT_ROWS


@dataclass(frozen=True)
class Prompt:
    """Token ids of a question and of the first token in which its answers differ.

    Attributes
    ----------
    text : tuple of int
        What follows the EEG: [SEP], the question, and what all answers begin
        with.
    answers : tuple of int
        One id per option: what would come next.
    """

    text: tuple[int, ...]
    answers: tuple[int, ...]

    @classmethod
    def of(cls, question: Sequence[int], options: Sequence[Sequence[int]]) -> Prompt:
        """Put question and options together.

        Parameters
        ----------
        question : sequence of int
            GPT-2 ids of the question, up to and including "Answer:".
        options : sequence of sequence of int
            GPT-2 ids of each answer. What all begin with, such as the bracket
            of ``(A)``, counts as part of the question.

        Returns
        -------
        Prompt
            The prompt.

        Raises
        ------
        SpecError
            If ids are not in the text vocabulary, the text is too long, or two
            options cannot be told apart by one token.
        """
        question = _ids("prompt", question)
        answers = [_ids(f"options[{i}]", option) for i, option in enumerate(options)]
        if not answers or not all(answers):
            raise SpecError("options: give the token ids of at least one answer, none of it empty.")
        shared = 0
        if len(answers) > 1:
            while (
                all(len(a) > shared + 1 for a in answers) and len({a[shared] for a in answers}) == 1
            ):
                shared += 1
        firsts = tuple(answer[shared] for answer in answers)
        if len(set(firsts)) < len(firsts):
            raise SpecError(
                f"options: after {shared} common tokens the next ids are {list(firsts)}, so one "
                "forward pass cannot tell all answers apart. Use answers that differ in one "
                "token, such as option letters (eegfound_neurolm.byte_ids('A'))."
            )
        text = (SEP, *question, *answers[0][:shared])
        if len(text) + MAX_SECONDS > POSITION_ROWS:
            raise SpecError(
                f"prompt has {len(text)} tokens with [SEP]; beside {MAX_SECONDS} s of EEG at most "
                f"{POSITION_ROWS - MAX_SECONDS} fit."
            )
        return cls(text, firsts)


def _ids(name: str, ids: Sequence[int]) -> tuple[int, ...]:
    if isinstance(ids, str) or not all(isinstance(i, int) or hasattr(i, "__index__") for i in ids):
        raise SpecError(
            f"{name} must be GPT-2 token ids (whole numbers), for instance "
            "tiktoken.get_encoding('gpt2').encode(text); this package has no tokenizer."
        )
    found = tuple(int(i) for i in ids)
    wrong = [i for i in found if not 0 <= i < TEXT_ROWS]
    if wrong:
        raise SpecError(f"{name} has ids outside 0…{TEXT_ROWS - 1}: {wrong[:5]}.")
    return found
