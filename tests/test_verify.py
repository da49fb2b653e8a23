"""What `arttune verify` says of a server, by the gaps it found; a real server is in `served/test_verify.py`."""

from __future__ import annotations

import pytest

from arttune.evaluate import Score
from arttune.verify import COPIES, Verdict

SCORE = Score("svamp", "test", 8, 4, 0.5, (0.2, 0.8), 1.0, "smol", "art", 0, 1.0, 100)


@pytest.mark.parametrize(
    ("painting", "copy", "changed", "fault"),
    [
        (0.02, 0.9, None, None),
        (0.02, 0.017, None, None),  # a little nearer, which chance does
        (0.4, 0.1, "JPEG at quality 75", "answers fit JPEG at quality 75 better"),
        (0.9, 0.89, None, "0.90 nats a token from those here: another model, or another picture"),
    ],
)
def test_the_verdict_follows_the_gaps(painting, copy, changed, fault):
    gaps = {"the painting": painting} | dict.fromkeys(COPIES, 5.0) | {"JPEG at quality 75": copy}
    verdict = Verdict(SCORE, SCORE, 0.9, gaps)
    assert verdict.changed == changed
    assert verdict.fault is None if fault is None else fault in verdict.fault
    told = verdict.as_dict()
    assert (told["picture_changed"], told["fault"], told["logprob_gap"]) == (changed, verdict.fault, gaps)
    assert [score["correct"] for score in told["scores"]] == [4, 4]
