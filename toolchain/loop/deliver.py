"""Signs bundles for devices: boards get an update with an image for each slot, Linux boards a statement about the bundle.

Numbers only rise, also when the fleet goes back: then the old bundle is signed again with a number of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.fleet.files import write_whole
from benchmarks.fleet.inventory import Delivery, statement
from firmware.update.image import pack_update
from firmware.update.keys import SigningKey, load_key
from targets.load import load_target
from toolchain.api.updating import known_answer, sign
from toolchain.bundle.read import read_bundle
from toolchain.loop.fleet import Fleet
from toolchain.loop.settings import LoopSettings
from toolchain.loop.store import Store

UPDATES, NUMBER = "updates", "delivered"


def deliveries(name: str, settings: LoopSettings, store: Store, fleet: Fleet, bundles: Mapping[str, Path]) -> dict[str, Delivery]:
    """A signed delivery of each bundle, by target; none without `[rollout] update_key`, and none of targets that take no updates.

    name: of all of them; asked for again, they are the same. Raises UsageError E901 for the key, and as `updating.sign`.
    """
    if settings.rollout.update_key is None:
        return {}
    kept = store.fact(f"deliveries:{name}")
    if kept is not None:
        return {target: Delivery(**row) for target, row in kept.items()}
    key = load_key(settings.rollout.update_key)
    number = max(int(store.fact(NUMBER) or 0), fleet.highest()) + 1
    store.keep(NUMBER, number)
    folder = settings.folder / UPDATES
    made = {target: _one(target, bundle, key, number, folder) for target, bundle in bundles.items()}
    found = {target: delivery for target, delivery in made.items() if delivery is not None}
    store.keep(f"deliveries:{name}", {target: asdict(delivery) for target, delivery in found.items()})
    return found


def _one(name: str, bundle: Path, key: SigningKey, number: int, folder: Path) -> Delivery | None:
    target = load_target(name)
    digest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    if target.update is not None:
        images = sign(bundle, key, number)
        data = pack_update(images)
        place = folder / f"{name}-{number}.update"
        write_whole(place, data)
        return Delivery(hashlib.sha256(data).hexdigest(), str(place), number, images[0].build_id.hex(), digest)
    if target.core.linux is None:
        return None
    said = statement(name, number, digest)
    answer = known_answer(read_bundle(bundle))
    signature = key.sign(said).hex()
    return Delivery(hashlib.sha256(said).hexdigest(), "", number, "", digest, signature, answer.check if answer else None)
