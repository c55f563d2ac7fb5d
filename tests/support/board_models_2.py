"""Test support: more chips as their data sheets describe them, of Nordic, Raspberry Pi, Renesas and Espressif."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from tests.support.board_models import CCSIDR, MHZ, Chip, caches, unless
from tests.support.register_model import Follows, Registers


def _nothing(r: Registers, hz: Fraction) -> list[str]:
    return []


# --- nRF52840 Product Specification: the processor has 64 MHz always, from the crystal once HFXO runs


def _nrf_baud(r: Registers, clock: Fraction) -> Fraction:
    assert r.read(0x4000_2500) == 4, "the UART is off"
    return clock * r.read(0x4000_2524) / (1 << 32)


NRF52840 = Chip(
    cpu_hz=lambda r: Fraction(64 * MHZ),
    port_hz=lambda r: Fraction(16 * MHZ),
    needs=_nothing,
    baud=_nrf_baud,
    pins=lambda r: unless(
        (r.read(0x4000_250C) == 6 and r.read(0x4000_2514) == 8, "TXD P0.06, RXD P0.08"),
        (r.read(0x5000_0718) & 3 == 3 and r.read(0x5000_0720) & 3 == 0, "directions"),
        (r.read(0x4000_0000) == 1, "HFXO is off"),
        (r.read(0x4001_E540) & 1 == 1, "the instruction cache is off"),
    ),
    resets={0x4000_250C: 0xFFFF_FFFF, 0x4000_2514: 0xFFFF_FFFF, 0x5000_0718: 2, 0x5000_0720: 2, 0x4000_2524: 0x0400_0000},
    rules=(Follows(0x4000_0100, 1, 0x4000_0000, 1),),
)


# --- RP2040 and RP2350 data sheets: PLL 12 MHz / REFDIV * FBDIV / POSTDIV1 / POSTDIV2, VCO 750 to 1600 MHz


def _rp_hz(clocks: int, pll: int, resets: int, pll_bit: int) -> Callable[[Registers], Fraction]:
    def hz(r: Registers) -> Fraction:
        reference = Fraction(12 * MHZ if r.bits(clocks + 0x30, 1, 0) == 2 else 6_500_000)
        if not r.read(clocks + 0x3C) & 1:
            return reference
        assert r.bits(clocks + 0x3C, 7, 5) == 0, "the auxiliary source is not the system PLL"
        assert not r.read(resets) & 1 << pll_bit, "the PLL is in reset"
        assert r.read(pll + 4) & 0x29 == 0, "a part of the PLL is off"
        vco = Fraction(12 * MHZ, r.bits(pll, 5, 0)) * r.bits(pll + 8, 11, 0)
        assert 750 * MHZ <= vco <= 1600 * MHZ, vco
        return vco / r.bits(pll + 0xC, 18, 16) / r.bits(pll + 0xC, 14, 12)

    return hz


def _rp_port(clocks: int, hz: Callable[[Registers], Fraction]) -> Callable[[Registers], Fraction]:
    return lambda r: hz(r) if r.read(clocks + 0x48) & (1 << 11 | 7 << 5) == 1 << 11 else Fraction(0)


def _pl011_baud(base: int) -> Callable[[Registers, Fraction], Fraction]:
    def baud(r: Registers, clock: Fraction) -> Fraction:
        assert r.read(base + 0x30) & 0x301 == 0x301, "the UART is off"
        order = [address for address, _ in r.writes]
        last = {offset: len(order) - order[::-1].index(base + offset) for offset in (0x24, 0x28, 0x2C)}
        assert last[0x2C] > max(last[0x24], last[0x28]), "LCR_H takes the divider over"
        return clock / (16 * (r.read(base + 0x24) + Fraction(r.read(base + 0x28), 64)))

    return baud


_RP2040_HZ = _rp_hz(0x4000_8000, 0x4002_8000, 0x4000_C000, 12)
RP2040 = Chip(
    cpu_hz=_RP2040_HZ,
    port_hz=_rp_port(0x4000_8000, _RP2040_HZ),
    needs=lambda r, hz: unless((hz <= 133 * MHZ, "above 133 MHz")),
    baud=_pl011_baud(0x4003_4000),
    pins=lambda r: unless(
        (r.read(0x4000_C000) & (1 << 5 | 1 << 8 | 1 << 22) == 0, "a block is in reset"),
        (r.read(0x4001_4004) == 2 and r.read(0x4001_400C) == 2, "GP0 and GP1 are not UART0"),
    ),
    resets={
        0x4000_C000: 0x01FF_FFFF,
        0x4002_8000: 1,
        0x4002_8004: 0x2D,
        0x4002_800C: 0x7_7000,
        0x4001_4004: 0x1F,
        0x4001_400C: 0x1F,
    },
    rules=(
        *(Follows(0x4000_C008, 1 << bit, 0x4000_C000, 1 << bit, inverted=True) for bit in range(25)),
        Follows(0x4002_4004, 1 << 31, 0x4002_4000, 0xFAB000),
        Follows(0x4002_8000, 1 << 31, 0x4002_8008, 125),
        Follows(0x4000_8038, 1 << 2, 0x4000_8030, 2),
        Follows(0x4000_8044, 1 << 1, 0x4000_803C, 1),
        Follows(0x4000_8044, 1 << 0, 0x4000_803C, 1, inverted=True),
    ),
)

_RP2350_HZ = _rp_hz(0x4001_0000, 0x4005_0000, 0x4002_0000, 14)
RP2350 = Chip(
    cpu_hz=_RP2350_HZ,
    port_hz=_rp_port(0x4001_0000, _RP2350_HZ),
    needs=lambda r, hz: unless(
        (hz <= 150 * MHZ, "above 150 MHz"),
        (hz / max(r.bits(0x400D_000C, 7, 0), 1) <= 133 * MHZ, "the flash is too fast"),
    ),
    baud=_pl011_baud(0x4007_0000),
    pins=lambda r: unless(
        (r.read(0x4002_0000) & (1 << 6 | 1 << 9 | 1 << 26) == 0, "a block is in reset"),
        (r.read(0x4002_8004) == 2 and r.read(0x4002_800C) == 2, "GP0 and GP1 are not UART0"),
        (not (r.read(0x4003_8004) | r.read(0x4003_8008)) & (1 << 8 | 1 << 7), "a pad is isolated, or its output off"),
        (bool(r.read(0x4003_8008) & 1 << 6), "GP1 is no input"),
    ),
    resets={
        0x4002_0000: 0x1FFF_FFFF,
        0x4005_0000: 1,
        0x4005_0004: 0x2D,
        0x4005_000C: 0x7_7000,
        0x4002_8004: 0x1F,
        0x4002_800C: 0x1F,
        0x4003_8004: 0x116,
        0x4003_8008: 0x116,
        0x400D_000C: 0x4000_0004,
    },
    rules=(
        *(Follows(0x4002_0008, 1 << bit, 0x4002_0000, 1 << bit, inverted=True) for bit in range(29)),
        Follows(0x4004_8004, 1 << 31, 0x4004_8000, 0xFAB000),
        Follows(0x4005_0000, 1 << 31, 0x4005_0008, 125),
        Follows(0x4001_0038, 1 << 2, 0x4001_0030, 2),
        Follows(0x4001_0044, 1 << 1, 0x4001_003C, 1),
        Follows(0x4001_0044, 1 << 0, 0x4001_003C, 1, inverted=True),
    ),
)


# --- RA8D1 User's Manual: PLL1P = XTAL / PLIDIV * PLLMUL / PLODIVP (9.2); ICLK above 120 MHz needs an SRAM wait, FLWT by 80 MHz

_RA = 0x4001_E000
_RA_DIVIDERS = {0: 1, 1: 2, 2: 4, 3: 8, 4: 16, 5: 32, 6: 64, 8: 3, 9: 6, 10: 12}


def _ra_pll(r: Registers) -> Fraction:
    control = r.bits(_RA + 0x28, 15, 0)
    assert not control & 1 << 4, "PLL1 takes HOCO"
    reference = Fraction(20 * MHZ, (control & 3) + 1)
    vco = reference * ((control >> 8) + 1)
    assert 8 * MHZ <= reference <= 24 * MHZ and 640 * MHZ <= vco <= 1440 * MHZ, (reference, vco)
    return vco / ((r.bits(_RA + 0x4C, 3, 0)) + 1)


def _ra_source(r: Registers) -> Fraction:
    return {1: Fraction(8 * MHZ), 5: None}[r.bits(_RA + 0x24, 18, 16)] or _ra_pll(r)


def _ra_clock(r: Registers, low: int) -> Fraction:
    return _ra_source(r) / _RA_DIVIDERS[r.bits(_RA + 0x20, low + 3, low)]


def _ra_hz(r: Registers) -> Fraction:
    return _ra_source(r) / _RA_DIVIDERS[r.bits(_RA + 0x24, 3, 0)]


def _ra_needs(r: Registers, hz: Fraction) -> list[str]:
    iclk = _ra_clock(r, 24)
    most = {24: 240, 20: 240, 16: 120, 12: 120, 8: 60, 4: 60, 0: 120, 28: 60}
    return unless(
        (hz <= 480 * MHZ and all(_ra_clock(r, low) <= limit * MHZ for low, limit in most.items()), "a bus is too fast"),
        (iclk <= (r.bits(0x4001_C11C, 2, 0) + 1) * 60 * MHZ, "flash waits"),
        (iclk <= 120 * MHZ or bool(r.read(0x4000_2008) & 1), "SRAM waits"),
    )


def _ra_port(r: Registers) -> Fraction:
    source = r.bits(_RA + 0x54, 11, 8)
    assert source == 5, "SCICLK is not PLL1P"
    return _ra_pll(r) / (1, 2, 4, 6, 8, 3, 5)[r.bits(_RA + 0x54, 3, 0)]


def _sci_baud(r: Registers, clock: Fraction) -> Fraction:
    base = 0x4035_8900
    assert r.read(base + 8) & 0x11 == 0x11, "SCI9 is off"
    assert r.bits(base + 0x14, 9, 8) == 2 and r.bits(base + 0x14, 18, 16) == 0, "not eight bits, asynchronous"
    assert r.read(base + 0x14) & 1 << 12, "the highest bit goes first"
    cycles = 16 if r.read(base + 0x10) & 1 << 4 else 32
    return clock / (cycles * 4 ** r.bits(base + 0x10, 21, 20)) / (r.bits(base + 0x10, 15, 8) + 1)


RA8D1 = Chip(
    cpu_hz=_ra_hz,
    port_hz=_ra_port,
    needs=_ra_needs,
    baud=_sci_baud,
    pins=lambda r: unless(
        (r.bits(_RA + 0xA50, 7, 0) == 3 << 1 | 1 << 4, "the crystal's drive, for 8 to 24 MHz"),
        (not r.read(0x4020_3004) & 1 << 22, "SCI9 is stopped"),
        (all(r.read(pin) >> 16 == 0x0501 for pin in (0x4040_08A0, 0x4040_08A4)), "P208 and P209 are not SCI9"),
        (r.read(0x4001_C100) & 1 == 1, "the flash cache is off"),
        *caches(r, 128),
    ),
    resets={
        _RA + 0x20: 0x2202_2222,
        _RA + 0x24: 0x0001_0000,
        _RA + 0x28: 0x0001_1900,
        _RA + 0x30: 0x0001_0000,
        _RA + 0x4C: 0x0555,
        CCSIDR: 0xF00F_E019,
        0x4020_3004: 0xFFFF_FFFF,
    },
    rules=(
        Follows(_RA + 0x3C, 1 << 3, _RA + 0x30, 1 << 16, inverted=True),
        Follows(_RA + 0x3C, 1 << 5, _RA + 0x28, 1 << 16, inverted=True),
        Follows(_RA + 0x54, 1 << 15, _RA + 0x54, 1 << 14),
        Follows(0x4035_8948, 1 << 29, 0x4035_8908, 1 << 4),
    ),
)


# --- ESP32-C3 TRM 6.2.4: SOC_CLK_SEL 1 is the PLL, PLL_FREQ_SEL 480 or 320 MHz, CPUPERIOD_SEL 80 or 160 MHz


def _c3_hz(r: Registers) -> Fraction:
    source = r.bits(0x600C_0058, 11, 10)
    if source == 0:
        return Fraction(40 * MHZ, r.bits(0x600C_0058, 9, 0) + 1)
    assert source == 1
    assert not r.read(0x6000_8000) & (1 << 10 | 1 << 8 | 1 << 6), "the PLL has no power"
    assert r.read(0x600C_0008) & 1 << 2, "the PLL has 320 MHz"
    assert (0x66, 0, 4, 0x6B) in r.rom_calls and (0x66, 0, 3, 8) in r.rom_calls, "the PLL's analogue side"
    return Fraction((80, 160)[r.bits(0x600C_0008, 1, 0)] * MHZ)


def _c3_baud(r: Registers, clock: Fraction) -> Fraction:
    base = 0x6000_0000
    assert r.bits(base + 0x20, 5, 2) == 0b0111, "eight bits, one stop bit"
    assert r.bits(base + 0x78, 21, 20) == 3 and r.bits(base + 0x78, 27, 22) == 0b001101, "the UART's clock, or a reset"
    return clock / (r.bits(base + 0x78, 19, 12) + 1) / (r.bits(base + 0x14, 11, 0) + Fraction(r.bits(base + 0x14, 23, 20), 16))


ESP32C3 = Chip(
    cpu_hz=_c3_hz,
    port_hz=lambda r: Fraction(40 * MHZ),
    needs=_nothing,
    baud=_c3_baud,
    pins=lambda r: unless(
        (not r.read(0x6000_8090) & 1 << 31, "the RTC's watchdog runs"),
        (not r.read(0x6001_F048) & (1 << 31 | 1 << 14), "timer group 0's watchdog runs"),
        (bool(r.read(0x6000_80AC) & 1 << 31), "the super watchdog is not fed"),
        (r.writes.index((0x6000_80A8, 0x50D8_3AA1)) < r.writes.index((0x6000_8090, 0)), "unlocked first"),
    ),
    resets={0x6000_8090: 0x8001_2214, 0x6001_F048: 0x8000_C000, 0x6000_8000: 1 << 10 | 1 << 8 | 1 << 6, 0x600C_0058: 1},
    rules=(Follows(0x6000_0080, 1 << 31, 0x6000_0080, 0, inverted=True),),
    rom={0x4000_195C: "rom_i2c_writeReg", 0x4000_0050: "ets_delay_us"},
)
