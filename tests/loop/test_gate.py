"""The gate: a good candidate passes; each kind of bad one is refused, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import VerificationError
from toolchain.ir.types import Array
from toolchain.loop.build import Built
from toolchain.loop.gate import Answers, Candidate, canonical, decide
from toolchain.loop.rollout import check_record, manifest_digests
from toolchain.loop.settings import GatePart
from toolchain.loop.signing import holds, public_key, sign
from toolchain.loop.validate import label_doubt

POLICY = GatePart(min_gain=0.1, max_ram_bytes=16_384, max_flash_bytes=65_536, max_latency_ms=50.0)
Y = np.tile(np.arange(10), 40)
DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def wrong(y: Array, share: float, only: int | None = None) -> Array:
    """Answers of which this share are wrong, of one class alone where that is given."""
    places = np.flatnonzero(y == only) if only is not None else np.arange(len(y))
    found = y.copy()
    chosen = np.random.default_rng(0).permutation(places)[: round(share * len(places))]
    found[chosen] = (found[chosen] + 1) % 10
    return found


def candidate() -> Candidate:
    segment = np.where(np.arange(len(Y)) % 2 == 0, "street", "yard")
    old = Answers("old", wrong(Y, 0.05), wrong(Y, 0.05), Y, np.full(len(Y), ""))
    field = Answers("drifted", wrong(Y, 0.33), wrong(Y, 0.1), Y, segment)
    built = (Built("rp2040_pico", True, 8_000, 20_000, 5.0), Built("host", True, 8_000, 20_000, None))
    return Candidate((old, field), 0.98, 0.93, 0.93, 0.925, built, ("street", "yard"), (0.01,) * 10)


def test_a_good_candidate_passes() -> None:
    assert decide(candidate(), POLICY).reasons == ()


def digits_doubt(share: float) -> tuple[float, ...]:
    """Doubt about real labels, of which a share of the fours say nine."""
    with np.load(DIGITS / "train.npz") as stored:
        x, y = stored["image"][:700], stored["y"][:700].astype(np.int64)
        trusted = stored["image"][700:], stored["y"][700:].astype(np.int64)
    fours = np.flatnonzero(y == 4)
    y[fours[: round(share * len(fours))]] = 9
    return tuple(label_doubt(x, y, np.arange(len(y)), trusted, 10).tolist())


def test_labels_as_they_are_raise_no_doubt() -> None:
    assert max(digits_doubt(0.0)) <= POLICY.max_label_doubt


def test_a_class_that_is_like_another_in_trusted_samples_is_not_doubted() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 6))

    def samples(poisoned: int) -> tuple[np.ndarray, np.ndarray]:
        looks = np.repeat(np.arange(6), 100)
        y = looks.copy()
        # Class 2 looks like class 1 in every fifth sample, here as everywhere.
        y[100:120] = 2
        y[300 : 300 + poisoned] = 0
        return centres[looks] + 0.02 * rng.standard_normal((600, 6)), y

    for poisoned, doubted in ((0, []), (20, [3])):
        x, y = samples(poisoned)
        found = label_doubt(x, y, np.arange(600), samples(0), 6)
        assert list(np.flatnonzero(found > POLICY.max_label_doubt)) == doubted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda good: replace(good, train_accuracy=1.0, test_accuracy=0.8), "between samples trained on and others"),
        (lambda good: replace(good, built=(replace(good.built[0], latency_ms=51.0),)), "milliseconds on rp2040_pico"),
        (lambda good: replace(good, built=(replace(good.built[0], ram_bytes=20_000),)), "bytes of RAM on rp2040_pico"),
        (lambda good: replace(good, built=(replace(good.built[0], flash_bytes=70_000),)), "bytes of flash on rp2040_pico"),
        (lambda good: replace(good, built=(replace(good.built[0], bit_exact=False),)), "gives the reference's bytes"),
        (lambda good: replace(good, doubt=digits_doubt(0.2)), "labels of class 4 in doubt"),
        (lambda good: replace(good, float_accuracy=0.96), "lost by quantization"),
        (lambda good: replace(good, drifted=("hall",)), "test samples of drifted segment hall"),
        (
            lambda good: replace(good, answers=(replace(good.answers[0], new=wrong(Y, 0.1)), good.answers[1])),
            "points lost on old samples",
        ),
        (
            lambda good: replace(good, answers=(good.answers[0], replace(good.answers[1], new=wrong(Y, 0.25)))),
            "points won on drifted samples",
        ),
        (
            lambda good: replace(good, answers=(good.answers[0], replace(good.answers[1], new=wrong(Y, 0.5, only=3)))),
            "points lost on drifted samples of class 3",
        ),
    ],
)
def test_a_bad_candidate_is_refused_with_the_reason(change: object, reason: str) -> None:
    assert callable(change)
    decision = decide(change(candidate()), POLICY)
    print(decision.reasons)
    assert not decision.accepted
    assert any(reason in text for text in decision.reasons)


def test_a_record_holds_for_its_bundles_and_key_alone(tmp_path: Path) -> None:
    keys, bundle = tmp_path / "keys", tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    record = {"bundles": manifest_digests({"t": bundle}), "accepted": True}
    signature = sign(keys, canonical(record))
    assert (keys / "loop.key").stat().st_mode & 0o077 == 0
    check_record(record, signature, keys, {"t": bundle})
    assert holds(public_key(keys), canonical(record), signature)
    with pytest.raises(VerificationError, match="E603 decision"):
        check_record({**record, "accepted": False}, signature, keys, {"t": bundle})
    with pytest.raises(VerificationError, match="E603 decision"):
        check_record(record, sign(tmp_path / "others", canonical(record)), keys, {"t": bundle})
    (bundle / "manifest.json").write_text("{ }")
    with pytest.raises(VerificationError, match="not the bundle"):
        check_record(record, signature, keys, {"t": bundle})
