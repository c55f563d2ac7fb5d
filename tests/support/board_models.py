"""Test support: chips as their reference manuals describe them: what follows what, the formulas of clocks, what each rate needs.

Written from the manuals' formulas alone; nothing here knows what the set-ups write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from tests.support.register_model import Follows, Registers

MHZ = 1_000_000


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip. cpu_hz and port_hz: the processor's clock, and that of the serial port. needs: complaints about the present rate.

    baud: of the serial port. pins: complaints about the serial port's pins.
    """

    cpu_hz: Callable[[Registers], Fraction]
    port_hz: Callable[[Registers], Fraction]
    needs: Callable[[Registers, Fraction], list[str]]
    baud: Callable[[Registers, Fraction], Fraction]
    pins: Callable[[Registers], list[str]]
    resets: dict[int, int] = field(default_factory=dict[int, int])
    rules: tuple[Follows, ...] = ()
    copies: tuple[tuple[int, int, int, int], ...] = ()
    rom: dict[int, str] = field(default_factory=dict[int, str])


def unless(*rows: tuple[bool, str]) -> list[str]:
    """The complaints whose condition does not hold."""
    return [what for held, what in rows if not held]


def _usart_baud(base: int, units: int = 1) -> Callable[[Registers, Fraction], Fraction]:
    """STM32, oversampling by 16: clock / BRR; LPUART: 256 clock / BRR. Enabled: UE, RE, TE."""

    def baud(r: Registers, clock: Fraction) -> Fraction:
        assert r.read(base) & 0xD == 0xD, "the USART is off"
        assert not r.read(base) & 1 << 15 and not r.read(base) & (1 << 12 | 1 << 28), "oversampling or length"
        return clock * units / r.read(base + 0xC)

    return baud


CCSIDR = 0xE000_ED80


def caches(r: Registers, sets: int) -> list[tuple[bool, str]]:
    """Cortex-M7 and M85: all four ways of all sets invalidated, and the instruction cache, before both are on."""
    lines = {value for address, value in r.writes if address == 0xE000_EF60}
    order = [address for address, _ in r.writes if address in (0xE000_EF60, 0xE000_EF50, 0xE000_ED14)]
    return [
        (lines == {way << 30 | line << 5 for way in range(4) for line in range(sets)}, "lines that were not invalidated"),
        (order[-2:] == [0xE000_EF50, 0xE000_ED14] and r.bits(0xE000_ED14, 17, 16) == 3, "the caches are off"),
    ]


def _alternate(r: Registers, port: int, pin: int, function: int) -> bool:
    """STM32 GPIO: MODER is alternate, AFR names the function."""
    mode = r.bits(port, 2 * pin + 1, 2 * pin)
    low = pin % 8 * 4
    return mode == 2 and r.bits(port + 0x20 + pin // 8 * 4, low + 3, low) == function


# --- STM32L4R5, RM0432: flash latency table 12 (range 1 boost: 20 MHz a wait state), PLL 6.4.4, PWR 5.1.8


def _l4_hz(r: Registers) -> Fraction:
    rcc = 0x4002_1000
    source = r.bits(rcc + 8, 1, 0)
    clock = {0: Fraction(4 * MHZ), 1: Fraction(16 * MHZ)}.get(source)
    if clock is None:
        assert source == 3
        assert r.bits(rcc + 0xC, 1, 0) == 2, "the PLL has no HSI16"
        reference = Fraction(16 * MHZ, r.bits(rcc + 0xC, 7, 4) + 1)
        vco = reference * r.bits(rcc + 0xC, 14, 8)
        assert 2.66 * MHZ <= reference <= 16 * MHZ and 64 * MHZ <= vco <= 344 * MHZ, (reference, vco)
        clock = vco / (2, 4, 6, 8)[r.bits(rcc + 0xC, 26, 25)] if r.read(rcc + 0xC) & 1 << 24 else Fraction(0)
    prescaler = r.bits(rcc + 8, 7, 4)
    return clock / (1 if prescaler < 8 else (2, 4, 8, 16, 64, 128, 256, 512)[prescaler - 8])


def _l4_needs(r: Registers, hz: Fraction) -> list[str]:
    latency, boost = r.bits(0x4002_2000, 3, 0), not r.read(0x4000_7080) & 1 << 8
    return unless(
        (hz <= (latency + 1) * (20 if boost else 16) * MHZ, f"{latency} wait states at {float(hz)}"),
        (hz <= 80 * MHZ or boost, "range 1 without boost above 80 MHz"),
        (hz <= 120 * MHZ, "above 120 MHz"),
        (hz <= 16 * MHZ or r.bits(0x4002_2000, 10, 8) == 7, "prefetch and caches are off"),
    )


L4R5 = Chip(
    cpu_hz=_l4_hz,
    port_hz=lambda r: _l4_hz(r) if r.bits(0x4002_1088, 11, 10) == 0 and r.bits(0x4002_1008, 10, 8) < 4 else Fraction(0),
    needs=_l4_needs,
    baud=_usart_baud(0x4000_8000, 256),
    pins=lambda r: unless(
        (bool(r.read(0x4002_104C) & 1 << 6), "GPIOG has no clock"),
        (bool(r.read(0x4002_105C) & 1), "LPUART1 has no clock"),
        (bool(r.read(0x4000_7004) & 1 << 9), "VDDIO2 is not valid"),
        (_alternate(r, 0x4800_1800, 7, 8) and _alternate(r, 0x4800_1800, 8, 8), "PG7 and PG8"),
    ),
    resets={0x4002_1000: 0x63, 0x4002_100C: 0x1000, 0x4002_2000: 0x600, 0x4000_7080: 0x100, 0x4800_1800: 0xFFFF_FFFF},
    rules=(
        Follows(0x4002_1000, 1 << 10, 0x4002_1000, 1 << 8),
        Follows(0x4002_1000, 1 << 25, 0x4002_1000, 1 << 24),
    ),
    copies=((0x4002_1008, 0xC, 0x4002_1008, 3),),
)


# --- STM32F746, RM0385: latency table 7 (30 MHz a wait state), PLL 5.3.2, overdrive 4.1.4 (above 180 MHz)


def _f7_system_hz(r: Registers) -> Fraction:
    rcc = 0x4002_3800
    source = r.bits(rcc + 8, 1, 0)
    if source != 2:
        return Fraction((16, 25)[source] * MHZ)
    pll = rcc + 4
    reference = Fraction((25 if r.read(pll) & 1 << 22 else 16) * MHZ, r.bits(pll, 5, 0))
    vco = reference * r.bits(pll, 14, 6)
    assert MHZ <= reference <= 2 * MHZ and 100 * MHZ <= vco <= 432 * MHZ, (reference, vco)
    return vco / (2, 4, 6, 8)[r.bits(pll, 17, 16)]


def _f7_apb(r: Registers, high: int) -> Fraction:
    code = r.bits(0x4002_3808, high, high - 2)
    return _f7_system_hz(r) / (1 if code < 4 else 1 << (code - 3))


def _f7_needs(r: Registers, hz: Fraction) -> list[str]:
    latency = r.bits(0x4002_3C00, 3, 0)
    return unless(
        (hz <= (latency + 1) * 30 * MHZ, f"{latency} wait states at {float(hz)}"),
        (hz <= 180 * MHZ or r.bits(0x4000_7004, 17, 16) == 3, "no overdrive above 180 MHz"),
        (r.bits(0x4000_7000, 15, 14) == 3, "voltage scale 1"),
        (hz <= 216 * MHZ and _f7_apb(r, 12) <= 54 * MHZ and _f7_apb(r, 15) <= 108 * MHZ, "a bus is too fast"),
    )


F746 = Chip(
    cpu_hz=_f7_system_hz,
    port_hz=lambda r: _f7_apb(r, 15) if r.bits(0x4002_3890, 1, 0) == 0 else Fraction(0),
    needs=_f7_needs,
    baud=_usart_baud(0x4001_1000),
    pins=lambda r: unless(
        (r.bits(0x4002_3830, 1, 0) == 3, "GPIOA or GPIOB has no clock"),
        (bool(r.read(0x4002_3844) & 1 << 4), "USART1 has no clock"),
        (_alternate(r, 0x4002_0000, 9, 7) and _alternate(r, 0x4002_0400, 7, 7), "PA9 and PB7"),
        *caches(r, 32),
    ),
    resets={
        0x4002_3800: 0x83,
        0x4002_3804: 0x2400_3010,
        0x4000_7000: 0xC000,
        0x4002_0000: 0xA800_0000,
        0x4002_0400: 0x280,
        0x4002_3830: 0x10_0000,
        CCSIDR: 0xF003_E019,
    },
    rules=(
        Follows(0x4002_3800, 1 << 17, 0x4002_3800, 1 << 16),
        Follows(0x4002_3800, 1 << 25, 0x4002_3800, 1 << 24),
        Follows(0x4000_7004, 1 << 16, 0x4000_7000, 1 << 16),
        Follows(0x4000_7004, 1 << 17, 0x4000_7000, 3 << 16),
    ),
    copies=((0x4002_3808, 0xC, 0x4002_3808, 3),),
)


# --- STM32H7A3, RM0455: latency table 15 (VOS0: 44 MHz a wait state), PLL1 8.7.10 to 8.7.12

_H7 = 0x5802_4400


def _h7_system_hz(r: Registers) -> Fraction:
    source = r.bits(_H7 + 0x10, 2, 0)
    if source != 3:
        return Fraction({0: 64, 1: 4, 2: 8}[source] * MHZ)
    reference = Fraction({0: 64, 1: 4, 2: 8}[r.bits(_H7 + 0x28, 1, 0)] * MHZ, r.bits(_H7 + 0x28, 9, 4))
    span = ((1, 2), (2, 4), (4, 8), (8, 16))[r.bits(_H7 + 0x2C, 3, 2)]
    vco = reference * (r.bits(_H7 + 0x30, 8, 0) + 1)
    assert span[0] * MHZ <= reference <= span[1] * MHZ, reference
    assert r.read(_H7 + 0x2C) & 1 << 16 and not r.read(_H7 + 0x2C) & 3, "P is off, or the wrong VCO"
    assert 128 * MHZ <= vco <= 560 * MHZ, vco
    return vco / (r.bits(_H7 + 0x30, 15, 9) + 1)


def _h7_divided(code: int) -> int:
    return 1 if code < 8 else (2, 4, 8, 16, 64, 128, 256, 512)[code - 8]


def _h7_hz(r: Registers) -> Fraction:
    return _h7_system_hz(r) / _h7_divided(r.bits(_H7 + 0x18, 11, 8))


def _h7_apb(r: Registers, address: int, high: int) -> Fraction:
    code = r.bits(address, high, high - 2)
    return _h7_hz(r) / _h7_divided(r.bits(_H7 + 0x18, 3, 0)) / (1 if code < 4 else 1 << (code - 3))


def _h7_needs(r: Registers, hz: Fraction) -> list[str]:
    latency, scale = r.bits(0x5200_2000, 3, 0), r.bits(0x5802_4818, 15, 14)
    buses = ((_H7 + 0x18, 6), (_H7 + 0x1C, 6), (_H7 + 0x1C, 10), (_H7 + 0x20, 6))
    return unless(
        (hz <= min((latency + 1) * 44, 280) * MHZ, f"{latency} wait states at {float(hz)}"),
        (hz <= (88, 160, 225, 280)[scale] * MHZ and (hz <= 64 * MHZ or scale == 3), f"voltage scale {scale}"),
        (hz <= 64 * MHZ or r.bits(0x5802_480C, 2, 0) == 4, "the supply is not the SMPS alone"),
        (hz <= 64 * MHZ or bool(r.read(0x5802_4818) & 1 << 13), "VOS is not ready"),
        (all(_h7_apb(r, *bus) <= 140 * MHZ for bus in buses), "a bus is too fast"),
        (hz <= 225 * MHZ or r.bits(0x5200_2000, 5, 4) == 3, "WRHIGHFREQ"),
    )


H7A3 = Chip(
    cpu_hz=_h7_hz,
    port_hz=lambda r: _h7_apb(r, _H7 + 0x1C, 6) if r.bits(_H7 + 0x54, 2, 0) == 0 else Fraction(0),
    needs=_h7_needs,
    baud=_usart_baud(0x4000_4800),
    pins=lambda r: unless(
        (bool(r.read(_H7 + 0x140) & 1 << 3), "GPIOD has no clock"),
        (bool(r.read(_H7 + 0x148) & 1 << 18), "USART3 has no clock"),
        (_alternate(r, 0x5802_0C00, 8, 7) and _alternate(r, 0x5802_0C00, 9, 7), "PD8 and PD9"),
        *caches(r, 128),
    ),
    resets={
        _H7: 0x25,
        _H7 + 0x28: 0x0202_0200,
        _H7 + 0x2C: 0x01FF_0000,
        _H7 + 0x30: 0x0101_0280,
        0x5200_2000: 0x13,
        0x5802_480C: 6,
        0x5802_0C00: 0xFFFF_FFFF,
        CCSIDR: 0xF00F_E019,
    },
    rules=(
        Follows(_H7, 1 << 25, _H7, 1 << 24),
        Follows(0x5802_4804, 1 << 13, 0x5802_480C, 4),
        Follows(0x5802_4818, 1 << 13, 0x5802_480C, 4),
    ),
    copies=((_H7 + 0x10, 7 << 3, _H7 + 0x10, 7),),
)


# --- STM32U575, RM0456: latency table 54 (range 1: 32 MHz a wait state), PLL1 11.8.9, booster 10.5.4 (above 55 MHz)

_U5 = 0x4602_0C00


def _u5_hz(r: Registers) -> Fraction:
    source = r.bits(_U5 + 0x1C, 1, 0)
    if source != 3:
        return Fraction({0: 4, 1: 16, 2: 16}[source] * MHZ)
    assert r.bits(_U5 + 0x28, 1, 0) == 2, "PLL1 has no HSI16"
    reference = Fraction(16 * MHZ, r.bits(_U5 + 0x28, 11, 8) + 1)
    low = 8 if r.bits(_U5 + 0x28, 3, 2) == 3 else 4
    vco = reference * (r.bits(_U5 + 0x34, 8, 0) + 1)
    assert low * MHZ <= reference <= 2 * low * MHZ and 128 * MHZ <= vco <= 544 * MHZ, (reference, vco)
    return vco / (r.bits(_U5 + 0x34, 30, 24) + 1) if r.read(_U5 + 0x28) & 1 << 18 else Fraction(0)


def _u5_needs(r: Registers, hz: Fraction) -> list[str]:
    latency, scale = r.bits(0x4002_2000, 3, 0), r.bits(0x4602_080C, 17, 16)
    booster = Fraction(16 * MHZ, (1, 2, 4, 6, 8, 10, 12, 14, 16)[r.bits(_U5 + 0x28, 15, 12)])
    return unless(
        (hz <= (latency + 1) * 32 * MHZ, f"{latency} wait states at {float(hz)}"),
        (hz <= (25, 55, 110, 160)[scale] * MHZ, f"voltage scale {scale}"),
        (hz <= 55 * MHZ or bool(r.read(0x4602_080C) & 1 << 14), "the booster is not ready"),
        (hz <= 55 * MHZ or 4 * MHZ <= booster <= 16 * MHZ, "the booster's clock"),
        (hz <= 55 * MHZ or bool(r.read(0x4602_083C) & 1 << 1), "the SMPS is not in use"),
    )


U575 = Chip(
    cpu_hz=_u5_hz,
    port_hz=lambda r: _u5_hz(r) if r.bits(_U5 + 0xE0, 1, 0) == 0 and r.bits(_U5 + 0x20, 10, 8) < 4 else Fraction(0),
    needs=_u5_needs,
    baud=_usart_baud(0x4001_3800),
    pins=lambda r: unless(
        (bool(r.read(_U5 + 0x8C) & 1), "GPIOA has no clock"),
        (bool(r.read(_U5 + 0xA4) & 1 << 14), "USART1 has no clock"),
        (bool(r.read(0x4003_0400) & 1), "the instruction cache is off"),
        (_alternate(r, 0x4202_0000, 9, 7) and _alternate(r, 0x4202_0000, 10, 7), "PA9 and PA10"),
    ),
    resets={_U5: 0x35, _U5 + 0x34: 0x0101_0280, 0x4202_0000: 0xABFF_FFFF, 0x4602_080C: 0x8000, _U5 + 0x8C: 0xC000_0000},
    rules=(
        Follows(_U5, 1 << 10, _U5, 1 << 8),
        Follows(_U5, 1 << 25, _U5, 1 << 24),
        Follows(0x4602_083C, 2, 0x4602_0808, 2),
        Follows(0x4602_080C, 1 << 15, _U5 + 0x94, 1 << 2),
        Follows(0x4602_080C, 1 << 14, 0x4602_080C, 1 << 18),
    ),
    copies=((_U5 + 0x1C, 0xC, _U5 + 0x1C, 3),),
)
