"""The cycle model against sums done by hand from Arm's manuals, on code given as bytes."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from runtimes.base import CallCost
from runtimes.block_counter import BlockCounter
from runtimes.cycle_counter import CycleCounter, CycleModel, Load
from runtimes.emulator import run_emulated
from targets.load import load_target, target_names
from targets.timings import load_timing, read_timing, timing_names
from tests.support.c_programs import samples, write_program
from tests.support.engines import needs_arm_gcc, needs_unicorn
from toolchain.errors import TargetError

pytest.importorskip("capstone", reason="capstone is not installed (pip install strop[mcu])")

TIMINGS = Path(__file__).parents[2] / "targets" / "timings"
CODE, DATA, PAGE = 0x1000, 0x4000, 0x1000

# code: cycles when the next instruction follows.
M4 = {
    # The manual's own examples, 3.3.2.
    "0868 1168": ("ldr r0, [r1]; ldr r1, [r2]", 3),
    "8858 5861": ("ldr r0, [r1, r2]; str r0, [r3, #20]", 3),
    "8858 9950": ("ldr r0, [r1, r2]; str r1, [r3, r2]", 3),
    "4859 1168 5a68": ("ldr r0, [r1, r5]; ldr r1, [r2]; ldr r2, [r3, #4]", 4),
    "0ec8": ("ldmia r0!, {r1, r2, r3}", 4),
    "a0e8fe01": ("stmia r0!, {r1-r8}", 9),
    # What keeps loads from being pipelined.
    "0868": ("ldr r0, [r1]", 2),
    "0868 0268": ("ldr r0, [r1]; ldr r2, [r0]", 4),
    "0868 0260": ("ldr r0, [r1]; str r2, [r0]", 4),
    "51f8040b 51f8042b": ("ldr r0, [r1], #4; ldr r2, [r1], #4", 4),
    "51f8040b 53f8042b": ("ldr r0, [r1], #4; ldr r2, [r3], #4", 3),
    "91f90100 8a78": ("ldrsb.w r0, [r1, #1]; ldrb r2, [r1, #2]", 3),
    "0868 1b19 2a68": ("ldr r0, [r1]; adds r3, r3, r4; ldr r2, [r5]", 5),
    "d4e90223": ("ldrd r2, r3, [r4, #8]", 3),
    "0868 d4e90023": ("ldr r0, [r1]; ldrd r2, r3, [r4]", 5),
    "d4e90023 0868": ("ldrd r2, r3, [r4]; ldr r0, [r1]", 5),
    # Stores.
    "4860": ("str r0, [r1, #4]", 1),
    "8850": ("str r0, [r1, r2]", 2),
    "0860 1a68": ("str r0, [r1]; ldr r2, [r3]", 3),
    "e4e80223": ("strd r2, r3, [r4], #8", 3),
    "10b5": ("push {r4, lr}", 3),
    "30bc": ("pop {r4, r5}", 3),
    # Addresses that were just computed.
    "0433 0868": ("adds r3, #4; ldr r0, [r1]", 3),
    "0431 0868": ("adds r1, #4; ldr r0, [r1]", 4),
    "0431 5050": ("adds r1, #4; str r0, [r2, r1]", 4),
    "0431 91e80c00": ("adds r1, #4; ldmia r1, {r2, r3}", 5),
    "41f8040b 41f8042b": ("str r0, [r1], #4; str r2, [r1], #4", 3),
    # Arithmetic.
    "4843 01fb0230 82fb0301 c2fb0301": ("muls; mla; smull; smlal", 4),
    "21fb0230 51fb12f0 21fa92f0 01f30700": ("smlad; smmulr; sxtab16; ssat", 4),
    "c1ea0240 91fa02f0": ("pkhbt r0, r1, r2, lsl #16; sadd16 r0, r1, r2", 2),
    "b1fbf2f0": ("udiv r0, r1, r2", 12),
    "0028 b8bf 0120": ("cmp r0, #0; it lt; movlt r0, #1", 3),
    "30d0": ("beq, not taken", 1),
    "10b1": ("cbz, not taken", 1),
    # Floating point, 7.2.3.
    "00ee810a": ("vmla.f32 s0, s1, s2", 3),
    "80ee810a": ("vdiv.f32 s0, s1, s2", 14),
    "30ee810a 62ee221a": ("vadd.f32 s0, s1, s2; vmul.f32 s3, s4, s5", 2),
    "30ee810a 60ee201a": ("vadd.f32 s0, s1, s2; vmul.f32 s3, s0, s1", 3),
    "30ee810a 01ee820a": ("vadd.f32 s0, s1, s2; vmla.f32 s0, s3, s4", 4),
    "61ee210a 00ee820a": ("vmul.f32 s1, s2, s3; vmla.f32 s0, s1, s4", 5),
    "91ed000a": ("vldr s0, [r1]", 2),
    "91ed000b": ("vldr d0, [r1]", 3),
    "b1ec040a": ("vldmia r1!, {s0-s3}", 5),
    "2ded048b": ("vpush {d8, d9}", 5),
    "10ee100a": ("vmov r0, s0", 2),
    "b0ee600a b7ee000a": ("vmov s0, s1; vmov.f32 s0, #1.0", 2),
}
# code: cycles when execution goes on elsewhere.
M4_LEAVING = {
    "30e0": ("b", 3),
    "30d0": ("beq, taken", 3),
    "10b1": ("cbz, taken", 3),
    "00f030f8": ("bl", 3),
    "7047": ("bx lr", 3),
    "9847": ("blx r3", 3),
    "8f46": ("mov pc, r1", 3),
    "d1f800f0": ("ldr pc, [r1]", 5),
    "10bd": ("pop {r4, pc}", 6),
    "dfe800f0": ("tbb [pc, r0]", 6),
}
M3 = {
    "0868 1168": ("ldr r0, [r1]; ldr r1, [r2]", 3),
    "0431 0868": ("adds r1, #4; ldr r0, [r1]", 4),
    "4843": ("muls r0, r1, r0", 1),
    "01fb0230": ("mla r0, r1, r2, r3", 2),
    "82fb0301": ("smull r0, r1, r2, r3", 5),
    "c2fb0301": ("smlal r0, r1, r2, r3", 7),
    "01f30700": ("ssat r0, #8, r1", 1),
}
M0 = {
    "0868 1168": ("ldr r0, [r1]; ldr r1, [r2]", 4),
    "8850": ("str r0, [r1, r2]", 2),
    "0ec8": ("ldmia r0!, {r1, r2, r3}", 4),
    "4843": ("muls r0, r1, r0", 1),
    "30d0": ("beq, not taken", 1),
    "bff35f8f": ("dmb", 4),
}
M0_LEAVING = {"30d0": ("beq, taken", 3), "00f030f8": ("bl", 4), "7047": ("bx lr", 3), "10bd": ("pop {r4, pc}", 6)}
M0PLUS = {
    "0868 1168": ("ldr r0, [r1]; ldr r1, [r2]", 4),
    "0431 0868": ("adds r1, #4; ldr r0, [r1]", 3),
    "4860": ("str r0, [r1, #4]", 2),
    "8850": ("str r0, [r1, r2]", 2),
    "0ec8": ("ldmia r0!, {r1, r2, r3}", 4),
    "10b5": ("push {r4, lr}", 3),
    "4843": ("muls r0, r1, r0", 1),
    "30d0": ("beq, not taken", 1),
}
M0PLUS_LEAVING = {"30d0": ("beq, taken", 2), "00f030f8": ("bl", 3), "7047": ("bx lr", 2), "10bd": ("pop {r4, pc}", 5)}
CASES = [
    (core, code, name, cycles, follows)
    for core, table, follows in (
        ("cortex-m4", M4, True),
        ("cortex-m4", M4_LEAVING, False),
        ("cortex-m3", M3, True),
        ("cortex-m0", M0, True),
        ("cortex-m0", M0_LEAVING, False),
        ("cortex-m0plus", M0PLUS, True),
        ("cortex-m0plus", M0PLUS_LEAVING, False),
    )
    for code, (name, cycles) in table.items()
]
NOP = bytes.fromhex("00bf")

KNOWN_LOOP = """
__attribute__((naked)) int net_run(void *arena __attribute__((unused))) {
    __asm__ volatile(".syntax unified\\n\\tldr r1, =102400\\n1:"
                     "\\n\\tsubs r1, #1\\n\\tbne 1b\\n\\tmovs r0, #0\\n\\tbx lr\\n\\t.ltorg");
}
"""


def model(core: str, code: bytes) -> CycleModel:
    return CycleModel(load_timing(core), lambda address, size: (code + NOP)[address : address + size])


@pytest.mark.parametrize(("core", "code", "name", "cycles", "follows"), CASES, ids=[f"{case[0]} {case[2]}" for case in CASES])
def test_snippets_by_the_manual(core: str, code: str, name: str, cycles: int, follows: bool) -> None:
    data = bytes.fromhex(code)
    priced = model(core, data).price((0, len(data), follows)).count
    assert priced.cycles == cycles
    assert priced.instructions == name.count(";") + 1


def test_a_block_may_be_cut_anywhere() -> None:
    whole = bytes.fromhex("485911685a68")
    prices = model("cortex-m4", whole)
    parts = [prices.price(block).count.cycles for block in ((0, 2, True), (2, 4, True))]
    assert sum(part or 0 for part in parts) == prices.price((0, 6, True)).count.cycles == 4


@pytest.mark.parametrize(
    ("core", "code", "what"),
    [
        ("cortex-m4", "01df", "'svc'"),
        ("cortex-m3", "21fb0230", "'smlad'"),
        ("cortex-m0plus", "b1fbf2f0", "'udiv'"),
        ("cortex-m4", "00bf ffffffff", "the bytes ffffffff"),
    ],
)
def test_an_instruction_without_timing_is_an_error(core: str, code: str, what: str) -> None:
    data = bytes.fromhex(code)
    with pytest.raises(TargetError, match=rf"E304 targets/timings/{core}.toml: it has no timing for {re.escape(what)} at 0x"):
        model(core, data).price((0, len(data), False))


def run_code(code: str, registers: dict[str, int]) -> CycleCounter:
    """Execute code that ends with bx lr in unicorn, counted for a Cortex-M4, its loads found by a run before."""
    return run_counted(code, registers, run_counted(code, registers, {}).loads())


def run_counted(code: str, registers: dict[str, int], loads: dict[int, Load]) -> CycleCounter:
    unicorn, arm = importlib.import_module("unicorn"), importlib.import_module("unicorn.arm_const")
    uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
    for address in (CODE, DATA):
        uc.mem_map(address, PAGE)
    data = bytes.fromhex(code)
    uc.mem_write(CODE, data + NOP * 8)
    stop = CODE + len(data) + 8
    for register, value in {**registers, "LR": stop | 1}.items():
        uc.reg_write(getattr(arm, f"UC_ARM_REG_{register}"), value)
    counter = CycleCounter(load_timing("cortex-m4"), lambda address, size: bytes(uc.mem_read(address, size)))
    uc.hook_add(unicorn.UC_HOOK_BLOCK, counter.hook())
    look = counter.load_hook(loads, lambda name: uc.reg_read(getattr(arm, f"UC_ARM_REG_{name.upper()}")))
    for address in loads:
        uc.hook_add(unicorn.UC_HOOK_CODE, look, begin=address, end=address)
    uc.emu_start(CODE | 1, stop)
    return counter


@needs_unicorn
@pytest.mark.parametrize(("offset", "late"), [(0, 0), (1, 2), (2, 1), (3, 2)])
def test_unaligned_loads_are_late(offset: int, late: int) -> None:
    # ldr r0, [r1]; bx lr
    counter = run_code("0868 7047", {"R1": DATA + offset})
    assert counter.total() == CallCost(2, 2 + 3 + late)
    assert counter.by_group().get("unaligned", CallCost(0, 0)).cycles == late
    # ldrh r0, [r1]; str r0, [r1]; bx lr: a store is not late
    assert run_code("0888 0860 7047", {"R1": DATA + offset}).total() == CallCost(3, 2 + 1 + 3 + offset % 2)
    # ldr r0, [r1], #4; bx lr; then ldr.w r0, [r1, r2, lsl #2] with r2 = 3; then ldr r0, [r1, #-4]
    for load, base in (("51f8040b", DATA), ("51f82200", DATA), ("51f8040c", DATA + 4)):
        assert run_code(f"{load} 7047", {"R1": base + offset, "R2": 3}).total() == CallCost(2, 2 + 3 + late)
    # ldrsb r0, [r1, r2]; ldrd r2, r3, [r4]: never unaligned
    assert run_code("8856 d4e90023 7047", {"R1": DATA, "R2": offset, "R4": DATA}).total() == CallCost(3, 2 + 3 + 3)


@pytest.mark.parametrize(
    ("code", "watched"),
    [
        ("0868", 1),  # ldr r0, [r1]
        ("0098", 0),  # ldr r0, [sp]
        ("ddf80200", 1),  # ldr.w r0, [sp, #2]
        ("0048", 0),  # ldr r0, [pc]
        ("91f90100", 0),  # ldrsb.w r0, [r1, #1]
        ("18bf 0868", 0),  # it ne; ldrne r0, [r1]
    ],
)
def test_loads_that_are_watched(code: str, watched: int) -> None:
    data = bytes.fromhex(code)
    assert len(list(model("cortex-m4", data).loads((0, len(data), True)))) == watched


@needs_unicorn
def test_taken_branches_are_told_from_others() -> None:
    # movs r0, #10; subs r0, #1; bne the subs; bx lr
    counter = run_code("0a20 0138 fdd1 7047", {})
    assert counter.total() == CallCost(1 + 2 * 10 + 1, 1 + 2 * 10 + 9 * 2 + 3)
    groups = counter.by_group()
    assert groups["refill"] == CallCost(0, 10 * 2)
    assert groups["branch"] == CallCost(11, 11)
    places = counter.by_place(lambda address: "loop" if CODE < address < CODE + 6 else "rest")
    assert places["loop"] == CallCost(2 * 9, 9 * 2 + 8 * 2)
    assert CallCost(22, 42) - places["loop"] == places["rest"]


@needs_unicorn
@needs_arm_gcc
# The constant is an immediate where the core can encode it, else a literal that is loaded.
@pytest.mark.parametrize(("target", "constant", "refill"), [("mps2_an386", 1, 2), ("mps2_an385", 1, 2), ("rp2040_pico", 2, 1)])
def test_a_known_loop(target: str, constant: int, refill: int, tmp_path: Path) -> None:
    inputs = [samples(1)]
    found = run_emulated(
        write_program(tmp_path, KNOWN_LOOP), load_target(target), inputs, engine="unicorn", count=True
    ).measurement
    assert found.instructions == 1 + 2 * 102_400 + 2
    assert found.cycles == constant + 2 * 102_400 + 102_399 * refill + 1 + 1 + refill
    assert found.cycles_source is not None
    assert re.fullmatch(r"model cortex-m\w+ \(Arm .+ TRM\), zero wait states", found.cycles_source)


def test_totals_at_marks() -> None:
    code = bytes.fromhex("0868 00f0fef8" + "00bf" * 126 + "7047")
    counter = CycleCounter(load_timing("cortex-m4"), lambda address, size: code[address : address + size], mark=258)
    hook = counter.hook()
    for _ in range(3):
        hook(None, 0, 6, None)
        hook(None, 258, 2, None)
    assert counter.passed == [CallCost(2, 5), CallCost(4, 10), CallCost(6, 15)]
    assert counter.call_count() == CallCost(1, 3)


def test_cores_without_published_timings_count_instructions_only() -> None:
    counter = BlockCounter(lambda code: len(code) // 2, lambda address, size: bytes(size))
    counter.hook()(None, 0, 8, None)
    assert counter.total() == CallCost(4, None)
    with_model = {name for name in target_names() if load_target(name).core.timing is not None}
    cores = {load_target(name).core.name for name in with_model}
    assert cores == {"cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4f"}


def test_tables_are_read_strictly() -> None:
    assert timing_names() == ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4")
    good = (TIMINGS / "cortex-m4.toml").read_text()
    assert read_timing(good.encode(), "t.toml") == load_timing("cortex-m4")
    for old, new, fault in (
        ("refill = 2", "refil = 2", "key 'refil' is unknown. Did you mean 'refill'"),
        ("refill = 2\n", "", "key 'refill' is missing"),
        ("refill = 2", "refill = -1", "key 'refill' is -1"),
        ("halfword = 1", "halfword = true", "key 'unaligned.halfword' must be an integer"),
        ('kind = "load"', 'kind = "lode"', "key 'groups.load.kind' is 'lode'"),
        ("immediate = 1", "per_word = 1", "key 'groups.store.per_word' is unknown"),
        ('mnemonics = ["mov", "movt"]', 'mnemonics = ["mov", "add"]', "has 'add', which is in 'arithmetic'"),
    ):
        assert old in good
        with pytest.raises(TargetError, match=r"E304 t\.toml: ") as caught:
            read_timing(good.replace(old, new, 1).encode(), "t.toml")
        assert fault in str(caught.value)
